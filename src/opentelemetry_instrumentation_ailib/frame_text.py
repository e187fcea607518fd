"""A frame as JSON: its beginning and its size. A large one, of long texts or of many items, is never there twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from opentelemetry_instrumentation_ailib.fitting import MAX_DEPTH

# How many characters are written at a time, which is more than is shown; what each item takes of them besides its text;
# and of how many items it is seen whether there is room for all.
_PIECE: Final = 65_536
_ITEM: Final = 64
_ITEMS: Final = 512
_FEWER: Final = 8
# What JSON takes for a key; it is told to leave others out.
_KEYS: Final = (str, int, float, type(None))
_CONTAINERS: Final = (dict, list, tuple)
_SIZED: Final = (str, *_CONTAINERS)
_JSON: Final = json.JSONEncoder(ensure_ascii=False, default=repr, skipkeys=True)


class FrameText(NamedTuple):
    """A frame as JSON.

    Attributes:
        beginning: As much of the text as may be shown, and more.
        size: The bytes of the whole text.
        whole: Whether that is the beginning.
    """

    beginning: str
    size: int
    whole: bool


def frame_text(frame: Any) -> FrameText:
    """Return a frame as JSON. What JSON cannot write is written as Python would.

    Args:
        frame: What the decoder made: mappings, lists, texts and numbers, or anything, where it is the user's own.
    """
    kept: list[str] = []
    length, size, whole = 0, 0, True
    for piece in _pieces(frame):
        size += len(piece.encode("utf-8", "replace"))
        whole = length < _PIECE
        if whole:
            kept.append(piece)
            length += len(piece)
    return FrameText("".join(kept), size, whole)


def _pieces(value: Any, *around: int) -> Iterator[str]:
    """Yield the JSON of a value.

    Args:
        value: The value.
        around: The identities of what it is in: it may be within itself, which is for JSON to find.
    """
    if _fits(value) or len(around) == MAX_DEPTH or id(value) in around:
        yield _JSON.encode(value)
    elif isinstance(value, str):
        yield '"'
        for start in range(0, len(value), _PIECE):
            yield _JSON.encode(value[start : start + _PIECE])[1:-1]
        yield '"'
    else:
        first, last = "{}" if isinstance(value, dict) else "[]"
        yield first
        for index, entry in enumerate(_entries(value, (*around, id(value)))):
            if index:
                yield ", "
            yield from entry
        yield last


def _entries(value: Any, around: tuple[int, ...], count: int = _ITEMS) -> Iterator[Iterable[str]]:
    """Yield the pieces of the items of a list or a mapping, as many items at once as there is room for."""
    for part in _parts(value, count):
        if _fits(part):
            yield (_JSON.encode(part)[1:-1],)
        elif count > 1:
            yield from _entries(part, around, count // _FEWER)
        elif isinstance(part, dict):
            ((key, each),) = part.items()
            name = _pieces(key) if isinstance(key, str) else (_JSON.encode({key: None})[1 : -len(": null}")],)
            yield chain(name, (": ",), _pieces(each, *around))
        else:
            yield _pieces(part[0], *around)


def _parts(value: Any, count: int) -> Iterator[Any]:
    if not isinstance(value, dict):
        yield from (value[start : start + count] for start in range(0, len(value), count))
        return
    items = ((key, each) for key, each in value.items() if isinstance(key, _KEYS))
    while part := dict(islice(items, count)):
        yield part


def _fits(value: Any) -> bool:
    return _room(value, _PIECE) >= 0


def _room(value: Any, room: int, depth: int = 0) -> int:
    """Return how much of the room for a piece a value leaves, in characters; where it takes more, less than none."""
    if isinstance(value, str):
        return room - len(value)
    if depth == MAX_DEPTH or not isinstance(value, _CONTAINERS):
        return room
    room -= len(value) * _ITEM
    if isinstance(value, dict):
        room -= sum(len(key) for key in value if isinstance(key, str))
        value = value.values()
    for each in value if room >= 0 else ():
        if isinstance(each, _SIZED):
            room = _room(each, room, depth + 1)
            if room < 0:
                break
    return room
