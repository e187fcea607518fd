"""Coroutine functions that are wrapped: they refuse when called, have their names, and are closed by what is around."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opentelemetry_instrumentation_ailib.coroutines import Call, around, named_like


async def theirs(first: int, *, second: int = 2) -> int:
    """Stands for one of the runtime's."""
    return first + second


async def observe(call: Call, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Stands for one of ours."""
    return instance, args, kwargs, await call.take()


def wrapped(*args: Any, **kwargs: Any) -> Any:
    """Call what is around."""
    return around(observe)(theirs, "instance", args, kwargs)


@pytest.fixture
def warned() -> Iterator[Callable[[], list[str]]]:
    """What Python warns of, once what nobody holds has gone."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def messages() -> list[str]:
            gc.collect()
            return [str(warning.message) for warning in caught]

        yield messages


async def test_it_is_called_with_its_arguments_and_returns_what_it_returns() -> None:
    assert await wrapped(1, second=3) == ("instance", (1,), {"second": 3}, 4)


def test_it_has_the_names_of_what_is_inside() -> None:
    coroutine = wrapped(1)
    assert (coroutine.__name__, coroutine.__qualname__) == ("theirs", "theirs")
    coroutine.close()


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2), {}), ((1,), {"third": 3})])
def test_arguments_that_do_not_fit_are_refused_when_it_is_called(
    args: Any, kwargs: Any, warned: Callable[[], list[str]]
) -> None:
    with pytest.raises(TypeError, match="theirs"):
        wrapped(*args, **kwargs)
    assert warned() == []


def test_of_one_that_is_never_awaited_python_warns_once_and_by_its_name(warned: Callable[[], list[str]]) -> None:
    wrapped(1)
    assert warned() == ["coroutine 'theirs' was never awaited"]


def test_one_that_is_closed_before_it_begins_is_closed_inside_too(warned: Callable[[], list[str]]) -> None:
    wrapped(1).close()
    assert warned() == []


async def test_one_that_ends_before_it_is_awaited_inside_leaves_nothing(warned: Callable[[], list[str]]) -> None:
    async def fail(call: Call, *_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await around(fail)(theirs, None, (1,), {})
    assert warned() == []


def test_what_is_taken_is_the_callers_to_close(warned: Callable[[], list[str]]) -> None:
    coroutine = theirs(1)
    call = Call((coroutine,))
    assert call.take() is coroutine
    del call
    assert coroutine.cr_frame is not None
    coroutine.close()
    assert warned() == []


@pytest.mark.parametrize("other", [None, 7, iter([1]), object()], ids=lambda value: type(value).__name__)
def test_what_is_no_coroutine_is_nothing_to_close(other: Any) -> None:
    """A method of the user's own may return anything."""
    call = Call((other,))
    call.close()
    assert not call


@pytest.mark.parametrize("other", [None, 7, object()], ids=lambda value: type(value).__name__)
def test_what_has_no_names_gives_none(other: Any) -> None:
    ours = theirs(1)
    assert named_like(other, ours) is ours
    assert (ours.__name__, ours.__qualname__) == ("theirs", "theirs")
    ours.close()
