"""Chat templates: messages -> the text that a model was trained on. A template is a small program that came with somebody's model.

It runs in jinja2's sandbox, and that in a process of its own, which holds nothing worth taking, may open no file, and ends where it asks
for more than 512 MiB in all or 1 s of processor time a conversation; a text has at most 1 MB (chat_child.py).
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yanmo import files
from yanmo.errors import ModelError
from yanmo.text import tokenizer
from yanmo.text.tokenizer import Tokenizer

_CHILD = Path(__file__).with_name("chat_child.py")
_KEPT = ("PYTHONPATH", "LD_LIBRARY_PATH", "TZ")  # of the environment: what an interpreter needs, and no secrets
FILE, CONFIG = "chat_template.jinja", "tokenizer_config.json"
Messages = Sequence[Mapping[str, Any]]  # each with "role" and "content"


@dataclass(frozen=True)
class Chat:
    template: str
    tokens: Mapping[str, str] = field(default_factory=dict)  # "bos_token", "eos_token" ... which it may name

    def render(self, conversations: Sequence[Messages], *, prompt: bool = True) -> list[str]:
        """The text of each conversation; prompt: with the beginning of the assistant's next turn. One call for many is much faster.

        Raises ModelError for a template that fails, refuses the messages, or asks for more than it may have."""
        task = {
            "template": self.template,
            "variables": {**self.tokens, "add_generation_prompt": prompt, "tools": None, "documents": None},
            "conversations": [list(messages) for messages in conversations],
        }
        done = subprocess.run(  # noqa: S603 (our own file, no word of the template's in the command)
            [sys.executable, "-P", _CHILD],
            input=json.dumps(task).encode(),
            capture_output=True,
            check=False,
            env={key: os.environ[key] for key in _KEPT if key in os.environ},
        )
        if done.returncode == -signal.SIGPROF:
            raise ModelError("the chat template was stopped: it took over 1 s of processor time for one conversation")
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise ModelError(f"the chat template was stopped (status {done.returncode}; {last or 'killed'})") from None
        if "fault" in answer:
            raise ModelError(f"the chat template failed: {answer['fault']}")
        texts: list[str] = answer["texts"]
        return texts


def read(folder: Path) -> Chat | None:
    """The template of a Hugging Face folder: chat_template.jinja, or what tokenizer_config.json says; None where there is none."""
    template, content = None, {}
    try:
        if (folder / FILE).is_file():
            template = (folder / FILE).read_text("utf-8")
        if (folder / CONFIG).is_file():
            content = json.loads((folder / CONFIG).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder}: {FILE} or {CONFIG} is not readable ({error})") from None
    if not isinstance(content, dict):
        raise ModelError(f"{folder / CONFIG}: expected a JSON object")
    template = content.get("chat_template") if template is None else template
    if isinstance(template, list):  # several, each under a name
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    if not isinstance(template, str):
        return None
    tokens = {
        key: value.get("content") if isinstance(value, dict) else value
        for key, value in content.items()
        if key.endswith("_token")
    }
    return Chat(template, {key: token for key, token in tokens.items() if isinstance(token, str)})


def contents(cutter: Tokenizer, ids: Mapping[str, Any], chat: Chat | None, *, segments: bool = False) -> dict[str, str]:
    """The files of a Hugging Face folder that hold its tokeniser and template, name -> text. ids: a config's keys, which may name the
    tokens that begin and end a text. segments: does the model tell the texts of a pair apart? Then `transformers` is told to say which is
    which."""
    special = {name: ids.get(f"{name}_token_id") for name in ("bos", "eos")}
    special |= {"pad": cutter.pad, "unk": cutter.unknown, "cls": cutter.cls, "sep": cutter.sep, "mask": cutter.mask}
    named = {f"{name}_token": cutter.inner.id_to_token(id) for name, id in special.items() if isinstance(id, int)}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{name: token for name, token in named.items() if token is not None},
        **(chat.tokens if chat else {}),
        **({"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]} if segments else {}),
    }
    found = {tokenizer.FILE: cutter.content(), CONFIG: files.to_json(config)}
    return {**found, FILE: chat.template} if chat else found
