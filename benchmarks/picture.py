"""The costs as a picture: a bar for each variant, what the runtime or the SDK alone takes in grey."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape

from costs import CALL, CHUNK, LATE, MANY, OPENING, Costs
from peers import NAMES, OPENAI
from report import baseline

QUANTITIES: Final = (CALL, MANY, OPENING, CHUNK, LATE)
_WIDTH: Final = 960
_LEFT: Final = 330
_RIGHT: Final = 90
_BAR: Final = 16
_GAP: Final = 6
_HEAD: Final = 40
_GREY, _OURS, _FLOOR, _PEER = "#9aa0a6", "#1a73e8", "#81c995", "#f29900"


def _colour(variant: str) -> str:
    return _PEER if variant in (OPENAI, *NAMES) else _FLOOR if variant.endswith("floor") else _OURS


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'


def _rectangle(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.0):.1f}" height="{_BAR}" fill="{colour}"/>'


def _bars(costs: Costs, quantity: str, top: float) -> list[str]:
    measured = {variant: found[quantity].median for variant, found in costs.items() if quantity in found}
    scale = (_WIDTH - _LEFT - _RIGHT) / max(*measured.values(), 1e-9)
    parts = []
    for number, (variant, cost) in enumerate(measured.items()):
        y = top + number * (_BAR + _GAP)
        bare = min(cost, measured[baseline(variant)])
        parts += [
            _text(_LEFT - 8, y + _BAR - 4, variant, anchor="end"),
            _rectangle(_LEFT, y, bare * scale, _GREY),
            _rectangle(_LEFT + bare * scale, y, (cost - bare) * scale, _colour(variant)),
            _text(_LEFT + cost * scale + 6, y + _BAR - 4, f"{cost:,.1f}"),
        ]
    return parts


def draw(costs: Costs, titles: Mapping[str, str], caption: str) -> str:
    """Return the picture, in SVG.

    Args:
        costs: From ``costs``.
        titles: What the quantities are called.
        caption: What the figures depend on.
    """
    parts, top = [_text(16, 24, caption)], 32.0
    for quantity in QUANTITIES:
        count = sum(quantity in found for found in costs.values())
        parts.append(_text(16, top + _HEAD - 14, f"{titles[quantity]} (µs)", weight="bold"))
        parts += _bars(costs, quantity, top + _HEAD)
        top += _HEAD + count * (_BAR + _GAP)
    height = top + 16
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {_WIDTH} {height:.0f}" font-family="sans-serif" font-size="12">'
    )
    background = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join((head, background, *parts, "</svg>", ""))
