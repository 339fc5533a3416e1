"""Word vectors in word2vec's and fastText's text format: a word a line, then its numbers; the first line may say how many and how wide.

The file is read as a stream, gzip too; only the words that are asked for are kept, so that memory is bounded by them.
"""

import gzip
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from yanmo.errors import DataError, gather

_FAULTS = 5  # after so many a file is something else
_LINE = 1 << 20  # bytes; a longer line is no vector


def read(path: Path, words: Collection[str], width: int) -> dict[str, np.ndarray]:
    """The vectors, (width,) float32, of those of `words` that the file has; of a word that stands there twice the first.

    Raises DataError for another width, and for lines that are not a word and `width` finite numbers, by their numbers."""
    wanted = {word.encode() for word in words}
    found: dict[str, np.ndarray] = {}
    faults: list[str] = []
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LINE), b""), 1):
                line = line.strip(b" \t\r\n")
                if number == 1:
                    first = line.split()
                    header = len(first) == 2 and all(part.isdigit() for part in first)
                    if (there := int(first[1]) if header else len(first) - 1) != width:
                        raise DataError(
                            f"{path}:1: vectors of {there} numbers, but the model's embedding is {width} wide; give a file of that "
                            f"width, or a model that is {there} wide (model.size)"
                        )
                    if header:
                        continue
                # From the right: a word may hold a space.
                word, *numbers = line.rsplit(b" ", width)
                if len(line) >= _LINE - 1:
                    faults.append(f"{path}:{number}: over {_LINE:,} bytes, expected a word and {width} numbers")
                elif len(numbers) != width:
                    faults.append(f"{path}:{number}: {len(line.split()) - 1} numbers, expected a word and {width}")
                elif word in wanted and (key := word.decode()) not in found:
                    try:
                        vector = np.array(numbers, np.float32)
                    except ValueError:
                        vector = np.full(width, np.nan, np.float32)
                    if np.isfinite(vector).all():
                        found[key] = vector
                    else:
                        faults.append(f"{path}:{number}: the vector of {key!r} has a part that is no finite number")
                if len(faults) >= _FAULTS:
                    break
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: can't be read ({error})") from None
    gather(faults, f"{path}: not word vectors:", DataError)
    return found
