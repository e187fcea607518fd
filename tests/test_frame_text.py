"""A frame as JSON: as it would be written at once, but for the memory that takes."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry_instrumentation_ailib import frame_text as module
from opentelemetry_instrumentation_ailib.frame_text import frame_text

BOUND = 1 << 20
MANY = 50_000


class Written:
    """What JSON knows nothing of."""

    def __repr__(self) -> str:
        return "<written>"


def at_once(frame: Any) -> str:
    return json.dumps(frame, ensure_ascii=False, default=repr, skipkeys=True)


def assert_written(frame: Any) -> None:
    text, expected = frame_text(frame), at_once(frame)
    assert text.size == len(expected.encode("utf-8", "replace"))
    assert expected.startswith(text.beginning)
    assert text.whole == (text.beginning == expected)
    assert len(text.beginning) >= min(len(expected), module._PIECE)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200) | st.just(Written())
KEYS = st.text(max_size=80) | st.integers() | st.none() | st.booleans() | st.floats() | st.tuples(st.integers())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner) | st.lists(inner).map(tuple),
    max_leaves=60,
)


@given(VALUES, st.integers(1, 100), st.integers(1, 16))
def test_any_frame_is_written_as_at_once(frame: Any, piece: int, item: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PIECE", piece)
        patch.setattr(module, "_ITEM", item)
        assert_written(frame)


@pytest.mark.parametrize(
    "frame",
    [
        {"a": list(range(MANY))},
        {"a": {str(index): index for index in range(MANY)}},
        {"a": dict.fromkeys(range(MANY))},
        [{"token": "a", "logprob": -0.5, "bytes": [97]}] * MANY,
        ["ab"] * MANY,
        ["x" * 60_000] * 100,
        "x" * 6_000_000,
        {"x" * 6_000_000: 1},
        [[[[0] * 100] * 100] * 10],
        [[], {}, [[]] * MANY, ""],
    ],
    ids=[
        "numbers",
        "members",
        "numbers for keys",
        "objects",
        "texts",
        "long texts",
        "a text",
        "a name",
        "nested",
        "empty",
    ],
)
def test_a_large_frame_is_never_there_twice(frame: Any) -> None:
    assert_written(frame)
    tracemalloc.start()
    try:
        frame_text(frame)
        assert tracemalloc.get_traced_memory()[1] < BOUND
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [1, 10_000])
def test_what_is_within_itself_is_found_to_be(count: int) -> None:
    frame: list[Any] = []
    frame += [{"a": frame}] * count
    with pytest.raises(ValueError, match="Circular"):
        frame_text(frame)


def test_a_frame_within_many_others_is_written_as_at_once() -> None:
    assert_written(json.loads("[" * 100 + '"x"' + "]" * 100))
