"""Lists and mappings of which no more is looked at than may leave the process, and the number of what was not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from typing import Any, Final

MAX_ITEMS: Final = 4_096
"""How many items of a list are looked at, those within them included: more do not fit, were each of one character."""


class Shortened(list[Any]):
    """Some items of a list whose others were not looked at.

    Attributes:
        left_out: How many those are.
    """

    __slots__ = ("left_out",)
    left_out: int


class ShortenedMapping(dict[Any, Any]):
    """Some items of a mapping whose others were not looked at.

    Attributes:
        left_out: How many those are.
    """

    __slots__ = ("left_out",)
    left_out: int


def shortened(found: Iterable[Any], left_out: int) -> list[Any]:
    """Return what was made of the items of a list, with the number of those that were not looked at.

    Args:
        found: What was made.
        left_out: That number.
    """
    kept = Shortened(found)
    kept.left_out = left_out
    return kept


def left_out_of(found: Collection[Any]) -> int:
    """Return how many items were not looked at when a list or a mapping was made."""
    return found.left_out if isinstance(found, (Shortened, ShortenedMapping)) else 0


def converted(convert: Callable[[Any], Any], values: Sequence[Any]) -> list[Any]:
    """Return what becomes of items, without those of which nothing does.

    Args:
        convert: Makes something of an item, perhaps with parts of its own, or ``None``.
        values: The items.
    """
    found: list[Any] = []
    room, looked_at = MAX_ITEMS, 0
    for value in values:
        if room <= 0:
            break
        looked_at += 1
        each = convert(value)
        room -= 1 + len(getattr(each, "parts", ()))
        if each is not None:
            found.append(each)
    return shortened(found, len(values) - looked_at)


def joined(*lists: Sequence[Any]) -> list[Any]:
    """Return lists as one, with the sum of what was not looked at in them."""
    return shortened(chain(*lists), sum(map(left_out_of, lists)))
