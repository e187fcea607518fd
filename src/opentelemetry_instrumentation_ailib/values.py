"""Numbers from outside, as an attribute can carry them. Wrong types and shapes yield ``None``, never an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MAPPINGS: Final = (dict, Mapping)
"""For ``isinstance``: what JSON makes is told at once, and to ask an abstract class takes ten times as long."""
# What an attribute can carry.
_MAX_INTEGER: Final = 2**63 - 1


def number(value: Any) -> int | float | None:
    """Return a number that an attribute can carry, or ``None``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_MAX_INTEGER <= value <= _MAX_INTEGER:
        return None  # NaN compares with nothing.
    return value


def integer(value: Any) -> int | None:
    """Return a count that is one: providers also send ``12.0``, ``-1``, ``"12"`` and ``null``."""
    if type(value) is int and 0 <= value <= _MAX_INTEGER:
        return value
    known = whole(value)
    return known if known is not None and known >= 0 else None


def whole(value: Any) -> int | None:
    """Return a number that is whole, perhaps below zero, or ``None``."""
    known = number(value)
    return min(int(known), _MAX_INTEGER) if known is not None and known == int(known) else None
