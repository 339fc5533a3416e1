"""The models that come with the package, in `yanmo/pretrained/`: a hub that is a folder, on every machine, without an extra."""

import difflib
from pathlib import Path

from yanmo.errors import ModelError
from yanmo.hub.folder import Folder
from yanmo.hub.parcel import MAIN, Found, digest

HUB = Folder(Path(__file__).parents[1] / "pretrained")
PLACE = "the package yanmo"  # in the record of a run whose base it was, as other hubs stand there by their address
ENCODER, WRITER = "yanmo-zh-mini", "yanmo-zh-poet"


def names() -> list[str]:
    return [name for name in (ENCODER, WRITER) if (HUB.root / name).is_dir()]


def named(word: str | Path) -> bool:
    """Whether a word of a command line names one of them, of whatever revision."""
    return str(word).partition("@")[0] in names()


def find(name: str, revision: str = MAIN) -> Found | None:
    """The folder of one of them; None for a name that none of them has. Raises ModelError for another state of it than this one."""
    if name not in names():
        return None
    folder = HUB.root / name
    held = digest(folder)
    if revision not in (MAIN, held):
        raise ModelError(
            f"{name}@{revision}: this version of Yanmo brings revision {held}. Install the version that brought the other one, "
            f"or begin anew with this one (a run: force=true, or another run=...)."
        )
    return Found(folder, {"name": name, "revision": held, "hub": PLACE})


def near(name: str) -> str:
    """The one that may be meant, in words."""
    found = difflib.get_close_matches(name, names(), n=1)
    return f" (did you mean {found[0]}?)" if found else ""
