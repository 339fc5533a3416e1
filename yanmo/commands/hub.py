"""`yanmo hub list [WORD]`, `push FOLDER [name=ORG/NAME]` and `pull ORG/NAME[@REVISION] [out=FOLDER]`, each with `hub=FOLDER|ADDRESS`.

Where no hub is named, `list` and `pull` know the models that come with the package, too, before they ask the hub of HF_ENDPOINT.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import hub
from yanmo.errors import MissingExtra, ModelError, SettingsError, some
from yanmo.progress import console, say
from yanmo.settings import Block, Words


class Settings(Block):
    hub: str | None = Field(
        None, description="a folder, or the address of a server (https://...); null: the hub of HF_ENDPOINT"
    )
    name: str | None = Field(None, description="push: what the model is called there; null: as its folder")
    out: Path | None = Field(None, description="pull: the folder that becomes a copy; null: models/NAME")
    private: bool = Field(True, description="push to a server: a model that is new there is for its owners only")


def command(words: Words[Settings]) -> dict[str, Any]:
    asked = words.settings
    verb, given = (words.typed[0], words.typed[1:]) if words.typed else ("", [])
    if verb == "list" and len(given) <= 1:
        return _list(asked, given[0] if given else "", quiet=words.json)
    if verb == "push" and len(given) == 1:
        return _push(asked, Path(given[0]))
    if verb == "pull" and len(given) == 1:
        return _pull(asked, given[0])
    raise SettingsError(
        "expected `yanmo hub list [WORD]`, `yanmo hub push FOLDER [name=ORG/NAME]` or `yanmo hub pull ORG/NAME [out=FOLDER]`, "
        "each with hub=FOLDER or hub=https://... for a hub of your own"
    )


def _list(asked: Settings, search: str, *, quiet: bool) -> dict[str, Any]:
    own = [] if asked.hub else hub.embedded.HUB.list(search)
    if not quiet:
        _show(own)  # before a server is asked, which may take its time to say that it is not there
    try:
        others = hub.open_hub(asked.hub).list(search)
    except (MissingExtra, ModelError) as error:
        if not own:
            raise
        say(f"only what comes with the package is listed ({error})")
        return {"hub": asked.hub, "models": own}
    if not quiet:
        _show(others)
        say(f"{asked.hub or 'the hub'}: {some(len(own + others), 'model')}")
    return {"hub": asked.hub, "models": own + others}


def _show(models: Sequence[Mapping[str, Any]]) -> None:
    for model in models:
        about = [str(model[key]) for key in ("family", "task") if model.get(key)]
        size = [f"{model['bytes'] / 1e6:,.1f} MB"] if "bytes" in model else []
        revision = [model["revision"][:12]] if model["revision"] else []
        damaged = ["damaged: not a readable model"] if model.get("damaged") else []
        console().print("  ".join([f"{model['name']:40}", *revision, *size, *about, *damaged]), markup=False)


def _push(asked: Settings, folder: Path) -> dict[str, Any]:
    name, revision = hub.parse(asked.name or folder.resolve().name)
    if "@" in (asked.name or ""):
        raise SettingsError(f"name={asked.name}: a push makes the revision; leave @{revision} out")
    done = hub.open_hub(asked.hub).push(folder, name, private=asked.private)
    say(f"{folder} is {done['name']} at {asked.hub or 'the hub'}, revision {done['revision'][:12]}")
    return {"hub": asked.hub, **done}


def _pull(asked: Settings, text: str) -> dict[str, Any]:
    name, revision = hub.parse(text)
    out = asked.out or Path("models") / name
    if asked.hub is None and hub.embedded.find(name, revision):
        done = hub.embedded.HUB.pull(name, hub.MAIN, out)
    else:
        done = hub.open_hub(asked.hub).pull(name, revision, out)
    say(f"{out} is {name} of {asked.hub or 'the hub'}, revision {done['revision'][:12]}")
    return {"hub": asked.hub, "folder": str(out), **done}
