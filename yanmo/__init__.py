"""Yanmo (研墨): grinds raw text into a language model that its owner understands, owns and can run."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# name -> module that has it; nothing heavy is imported until a name is asked for.
_FUNCTIONS = {
    "load": "yanmo.engine",
    "data": "yanmo.commands.data",
    "demo": "yanmo.commands.demo",
    "pretrain": "yanmo.commands.pretrain",
    "init": "yanmo.commands.init",
    "finetune": "yanmo.commands.finetune",
    "evaluate": "yanmo.commands.evaluate",
    "predict": "yanmo.commands.predict",
    "generate": "yanmo.commands.generate",
    "embed": "yanmo.commands.embed",
    "search": "yanmo.commands.search",
    "graph": "yanmo.commands.graph",
    "doctor": "yanmo.commands.doctor",
}

if TYPE_CHECKING:
    from yanmo.commands.data import data as data
    from yanmo.commands.demo import demo as demo
    from yanmo.commands.doctor import doctor as doctor
    from yanmo.commands.embed import embed as embed
    from yanmo.commands.evaluate import evaluate as evaluate
    from yanmo.commands.finetune import finetune as finetune
    from yanmo.commands.generate import generate as generate
    from yanmo.commands.graph import graph as graph
    from yanmo.commands.init import init as init
    from yanmo.commands.predict import predict as predict
    from yanmo.commands.pretrain import pretrain as pretrain
    from yanmo.commands.search import search as search
    from yanmo.engine import load as load

__all__ = [
    "__version__",
    "data",
    "demo",
    "doctor",
    "embed",
    "evaluate",
    "finetune",
    "generate",
    "graph",
    "init",
    "load",
    "predict",
    "pretrain",
    "search",
]


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'yanmo' has no attribute '{name}'")
