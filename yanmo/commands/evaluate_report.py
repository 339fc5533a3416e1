"""What `yanmo evaluate` says on the screen, and how it is written down."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yanmo import files, report, runs, scrutiny
from yanmo.page import number
from yanmo.progress import say
from yanmo.wording import in_a_sentence

SHOWN = 5  # slices and errors
_LONGEST = 80  # characters of a text


def tell(found: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> None:
    """The scores for people, what stands behind them in a few lines."""
    scores, key = found["test"], found["headline"]
    for name, value in scores.items():
        if isinstance(value, (int, float)):
            say(f"{name:20} {value:.4f}" if isinstance(value, float) else f"{name:20} {value:,}")
    if "interval" in scores:
        say(_line(in_a_sentence(key), scores[key], scores["interval"], scores["rows"]))
    if rest := found["leaks"].get("without"):
        say(
            "without the rows that it knows: "
            + _line(in_a_sentence(key), rest[key], rest.get("interval"), rest["rows"])
        )
    slices = found["slices"]
    if low := scrutiny.below(slices):
        say(f"clearly below {in_a_sentence(slices['measure'])} {number(slices['score'])}:")
        for kind, each in low[:SHOWN]:
            say("  " + _line(f"{kind} {each['name']}:", each["score"], each["interval"], each["rows"]))
    if errors:
        say(f"the worst of {len(errors):,} wrong rows:")
    for error in errors[:SHOWN]:
        text = error["text"] if isinstance(error["text"], str) else " | ".join(error["text"])
        answer = ", ".join(map(number, error["answer"].values()))
        told = [each if len(each) <= _LONGEST else f"{each[:_LONGEST]}..." for each in (text, error["truth"], answer)]
        say(f"  {error['file']}:{error['line']}: {told[0]} | truth: {told[1] or '-'} | answer: {told[2] or '-'}")


def _line(name: str, score: float, interval: Sequence[float] | None, rows: int) -> str:
    span = " [95% {:.4f} to {:.4f}]".format(*interval) if interval else ""
    return f"{name} {score:.4f}{span}, {rows:,} rows"


def tell_pair(pair: Mapping[str, Any]) -> None:
    """What the comparison of two runs came to."""
    say(pair["sentence"])
    if "mcnemar" in pair:
        test = pair["mcnemar"]
        say(
            f"  only {pair['run']} has {test['only_ours']:,} rows right, only {pair['against']} {test['only_theirs']:,}; "
            f"McNemar's test: p = {test['exact']:.3g}"
        )
    if "without" in pair:
        say(f"  without the rows that one of them knows: {pair['without']['sentence']}")


def write(folder: Path, title: str, result: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> None:
    """metrics.json, errors.jsonl and report.html. errors: of all runs, the worst first."""
    files.write_json(folder / runs.METRICS, result)
    files.write_file(folder / scrutiny.ERRORS, scrutiny.lines(errors))
    told = "".join(f"{pair['sentence']}. " for pair in result.get("comparisons", ()))
    report.write_run(folder, title=title, summary=told)
    say(f"report: {folder / runs.REPORT}")
