"""Coroutine functions of the runtime, wrapped so that nobody can tell.

Arguments that do not fit are refused when the call is made, and not when it is awaited; a coroutine that is never
awaited is warned of by its own name, and once.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.patching import Wrapper


class Call(list[Any]):
    """The runtime's coroutine, until it is taken: a list of one, whose making and taking take no function of Python's.

    One that is never awaited goes without a word: the one around it is the one to warn of.
    """

    __slots__ = ()

    take = list.pop
    """Return the coroutine, which is the caller's to await or close from now on."""

    def __del__(self) -> None:
        if self:
            self.close()

    @guarded
    def close(self) -> None:
        """Close the coroutine, which is not going to be awaited."""
        coroutine = self.take()
        if isinstance(coroutine, Coroutine):
            coroutine.close()


def around(observe: Callable[[Call, Any, tuple[Any, ...], dict[str, Any]], Coroutine[Any, Any, Any]]) -> Wrapper:
    """Return the wrapper that puts a coroutine function of ours around one of the runtime's.

    Args:
        observe: Ours. It gets the call, the instance, and the call's arguments, by position and by name.
    """

    def run(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        coroutine = wrapped(*args, **kwargs)
        return named_like(coroutine, observe(Call((coroutine,)), instance, args, kwargs))

    return run


def named_like(theirs: Any, ours: Any) -> Any:
    """Give a coroutine or a generator of ours the names of the runtime's, and return it.

    Args:
        theirs: The runtime's, or whatever a method of the user's own returned.
        ours: The one around it.
    """
    try:  # noqa: SIM105 - a context manager takes five times as long
        ours.__name__, ours.__qualname__ = theirs.__name__, theirs.__qualname__
    except (AttributeError, TypeError):
        pass
    return ours
