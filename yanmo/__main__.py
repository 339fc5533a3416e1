"""The command line: `yanmo VERB [settings.yaml] [PATH ...] [key=value ...]`.

One table, verb -> module in commands/. Nothing heavy is imported until a verb runs. A module there has `Settings` and
`command(words) -> result`; this page parses, prints, and turns errors into one message and an exit status.
"""

import errno
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any

import typer

from yanmo.errors import Interrupted, StorageError, YanmoError

VERBS = {
    "demo": "The whole life of a small language model on real Chinese reviews, in ten minutes.",
    "init": "Look at a data file and write the settings for it: task, columns, a size that this machine trains in time.",
    "tokenizer": "train: a tokeniser from text files. show: how a text is cut. encode: text files into token shards.",
    "data": "inspect: what to know of rows. clean: the rows worth keeping. split: parts that stay. augment, label: more rows.",
    "models": "The families of models: what each is, what it can do, and a drawing of its real modules and shapes.",
    "pretrain": "Pre-train a model on text, from scratch or continued.",
    "finetune": "Train a model for a task on labelled rows.",
    "evaluate": "Score a run on labelled rows.",
    "predict": "Answer for the rows of a file, or for lines on standard input.",
    "generate": "Write: behind a prompt, from a source text, or into the masks of a text; the words come as they are made.",
    "embed": "A vector for each text: of the rows of a file, or of lines on standard input.",
    "search": "Build an index over documents, by words, by vectors or both; add, delete, ask; answer questions from known ones.",
    "graph": "Entities of raw texts and how they are related, by a run that tags and one that relates: a small knowledge graph.",
    "hub": "list, push, pull: models kept in a folder or on a server of your own, or on the public hub.",
    "doctor": "What this machine can do, and what is wrong with a run; --fix mends what is safe to mend.",
}
EXAMPLES = {
    "demo": "yanmo demo",
    "init": "yanmo init train.tsv minutes=10",
    "data": "yanmo data inspect train.tsv test.tsv",
    "tokenizer": "yanmo tokenizer train reviews.txt tokenizer.vocab=8000 out=runs/tokenizer",
    "models": "yanmo models bert size=base",
    "pretrain": "yanmo pretrain text.txt run=runs/mine train.minutes=5",
    "finetune": "yanmo finetune data.train=train.tsv data.test=test.tsv model.base=runs/mine run=runs/reviews",
    "evaluate": "yanmo evaluate runs/reviews data.test=test.tsv --json",
    "predict": "yanmo predict runs/reviews new.csv out=answers.csv",
    "generate": 'yanmo generate runs/writer "once upon a time" sampling.temperature=0.8 sampling.top_p=0.9',
    "embed": "yanmo embed runs/mine texts.txt out=vectors.npy",
    "search": 'yanmo search index=runs/index data=docs.jsonl; yanmo search runs/index "ink stone"',
    "graph": "yanmo graph runs/names runs/relations in.txt out=graph.json",
    "hub": "yanmo hub push runs/reviews hub=/shared/models name=team/reviews",
    "doctor": "yanmo doctor runs/reviews",
}

WORDS = "SETTINGS.yaml PATH... key=value..."

app = typer.Typer(
    name="yanmo",
    help="Yanmo (研墨) grinds raw text into a language model that its owner understands, owns and can run.\n\n"
    "yanmo VERB \\[settings.yaml] \\[PATH ...] \\[key=value ...]",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _verb(name: str) -> Callable[..., None]:
    def run(
        words: Annotated[list[str] | None, typer.Argument(metavar=WORDS, show_default=False)] = None,
        json_output: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
        print_settings: Annotated[
            bool, typer.Option("--print-settings", help="Show every key with its value and meaning.")
        ] = False,
        fix: Annotated[
            bool, typer.Option("--fix", help="doctor: mend what is safe to mend.", hidden=name != "doctor")
        ] = False,
    ) -> None:
        from yanmo import settings

        module = importlib.import_module(f"yanmo.commands.{name}")
        given = settings.read(module.Settings, [*(words or []), *(["fix=true"] if fix else [])])
        given.json = json_output
        if print_settings:
            sys.stdout.write(settings.dump(given.settings))
            return
        result = module.command(given)
        if json_output and result is not None:
            sys.stdout.write(json.dumps(result, ensure_ascii=False, default=str) + "\n")

    return run


for _name, _about in VERBS.items():
    app.command(_name, help=_about, epilog=f"Example: {EXAMPLES[_name]}")(_verb(_name))


# What the system says when there is nowhere to write to, also of a file that it does not name (standard output).
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
_STOPPED = "stopped; what was finished is kept, and the same command goes on from there"


def listen() -> None:
    """Ctrl-C and SIGTERM end the command from here on. A training run answers them itself while it lasts."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    """No Exception, so that no library takes it for one of its own."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _end)
    raise SystemExit(128 + number)


def _end(number: int, frame: FrameType | None) -> None:
    """Another one, which may come while the first is being answered: nothing is left to be said."""
    os._exit(128 + number)


def main(words: list[str] | None = None) -> int:
    """Run one command; the exit status: 0 done, 1 the work failed, 2 wrong usage, 130 or 143 stopped by a signal."""
    listen()
    try:
        status: Any = app(words, standalone_mode=False)
        sys.stdout.flush()  # a full disk is heard of here, not after the end
        return status if isinstance(status, int) else 0
    except YanmoError as error:
        return _fail(error)
    except SystemExit as stopped:
        return _fail(Interrupted(_STOPPED, int(stopped.code or 0) - 128))
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        _forget_output()
        return 1
    except OSError as error:
        if error.filename is None and error.errno not in _NO_ROOM:
            raise
        if error.filename is None:
            _forget_output()
        return _fail(StorageError(f"{error.filename or 'the output'}: {error.strerror}"))
    except Exception as error:
        show = getattr(error, "show", None)  # a usage error of the command-line library
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", 2))


def _forget_output() -> None:
    """Python writes what is left in standard output when it ends; let that go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: YanmoError) -> int:
    sys.stderr.write(f"\nerror: {error}\n")
    return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
