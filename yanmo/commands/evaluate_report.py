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


def tell_score(found: Mapping[str, Any], name: str = "") -> None:
    """The headline score with its interval, and what it is of the rows that the run does not know."""
    scores, key = found["test"], in_a_sentence(found["headline"])
    if found["headline"] in scores and "interval" in scores:
        say(_line(f"{name}{key}", scores[found["headline"]], scores["interval"], scores["rows"]))
    if rest := found["leaks"].get("without"):
        told = _line(key, rest[found["headline"]], rest.get("interval"), rest["rows"])
        say(f"{name}without the rows that it knows: {told}")


def tell(found: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> None:
    """All scores of one run, and what stands behind them in a few lines."""
    for name, value in found["test"].items():
        if isinstance(value, (int, float)):
            say(f"{name:20} {value:.4f}" if isinstance(value, float) else f"{name:20} {value:,}")
    tell_score(found)
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
