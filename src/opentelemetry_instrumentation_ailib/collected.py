"""What ends because the garbage collector found it: a call whose task nobody kept, a stream that nobody closed.

A collection begins wherever something is allocated: under the SDK's locks, too, which the end of a span and a
measurement ask for again, and before Python 3.12 in the middle of a change of the current context.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
import threading
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Final, ParamSpec

P = ParamSpec("P")

# What an end goes through: the SDK, the handlers of logs and the queues that these use, the runtime's collectors.
_LOCKING: Final = ("opentelemetry.sdk.", "logging.", "queue.", "ai_lib_python.telemetry.metrics.")

_threads: Final[deque[threading.Thread]] = deque(maxlen=1)


def closes(error: BaseException | None) -> bool:
    """Return whether an exception may be what a coroutine meets that is closed.

    Args:
        error: The exception; a ``RuntimeError`` where what the coroutine awaits was closed before it.
    """
    return isinstance(error, (GeneratorExit, RuntimeError))


def unlocked(end: Callable[P, object]) -> Callable[P, None]:
    """Let a function of ours that records an end wait for no lock, and change no context, when what ends is collected.

    Args:
        end: The function, which does not raise. It is called where the exception that ends something is handled.
    """

    @functools.wraps(end)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        if closes(sys.exc_info()[1]):
            call_unlocked(functools.partial(end, *args, **kwargs))
        else:
            end(*args, **kwargs)

    return call


def call_unlocked(end: Callable[[], object]) -> None:
    """Call a function of ours in a context of its own, and where this thread may hold locks, in one of its own.

    Args:
        end: The function, which does not raise.
    """
    if not _inside_locks():
        # Inside ContextVar.set(), a second change of the context frees what the first is reading: python/cpython#148891.
        contextvars.copy_context().run(end)
        return
    # What lies further inside comes first, and is to end first.
    thread = threading.Thread(target=_after, args=(list(_threads), end), name="ai-lib-end", daemon=True)
    with contextlib.suppress(RuntimeError):  # There may be too many.
        thread.start()
        _threads.append(thread)


def _after(threads: list[threading.Thread], end: Callable[[], object]) -> None:
    for thread in threads:
        thread.join()
    end()


def _inside_locks() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if f"{frame.f_globals.get('__name__')}.".startswith(_LOCKING):
            return True
        frame = frame.f_back
    return False
