"""Plots for the documentation, as small SVG files that load nothing."""

from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from yanmo import files

_WIDTH, _ROW, _LABEL, _ROOM = 720, 24, 190, 70  # pixels; _ROOM: for the figure behind a bar
_PLAIN, _MARKED = "#4c78a8", "#c8963e"


def bars(path: Path, title: str, values: Mapping[str, float], marked: frozenset[str] = frozenset()) -> None:
    """A horizontal bar for each value, in their order, from 0 on; those `marked` in another colour."""
    longest = max(values.values())
    height = 36 + _ROW * len(values) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="8" y="22" font-size="15">{escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(values.items()):
        top = 36 + _ROW * number
        length = (_WIDTH - _LABEL - _ROOM) * value / longest
        parts += [
            f'<text x="{_LABEL - 8}" y="{top + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{top + 2}" width="{length:.1f}" height="{_ROW - 6}" '
            f'fill="{_MARKED if name in marked else _PLAIN}"/>',
            f'<text x="{_LABEL + length + 6:.1f}" y="{top + 15}">{value:.3f}</text>',
        ]
    files.write_file(path, "\n".join([*parts, "</svg>", ""]))
