"""What ends because the garbage collector found it: a call whose task nobody kept, a stream that nobody closed.

A collection begins wherever something is allocated: under locks, too, the SDK's or the application's, which the end of
a span and a measurement may ask for again, and before Python 3.12 in the middle of a change of the current context.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import functools
import gc
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, ParamSpec

P = ParamSpec("P")

# What an end goes through: the SDK, the handlers of logs and the queues that these use, the runtime's collectors.
_LOCKING: Final = ("opentelemetry.sdk.", "logging.", "queue.", "ai_lib_python.telemetry.metrics.")

# How many seconds the end of the process waits for ends, one of which may wait for a lock that nobody lets go.
_GRACE: Final = 2.0

_collecting: Final[list[int]] = []
_ends: Final[deque[tuple[int, Callable[[], object]]]] = deque()
_threads: Final[deque[_Thread]] = deque(maxlen=1)


def begin() -> None:
    """Begin to know of collections, inside of which nobody can tell which locks are held."""
    if _note not in gc.callbacks:
        gc.callbacks.append(_note)
        atexit.register(_finish)


def end() -> None:
    """Know of them no more."""
    with contextlib.suppress(ValueError):
        gc.callbacks.remove(_note)
    atexit.unregister(_finish)
    _collecting.clear()


def _note(
    phase: str, _: dict[str, Any], known: list[int] = _collecting, ident: Callable[[], int] = threading.get_ident
) -> None:
    # By its own names: as the interpreter ends, those of modules mean nothing any more.
    known[:] = [ident()] if phase == "start" else []


def _finish() -> None:
    for thread in tuple(_threads):  # Which ends after the one before it.
        thread.join(_GRACE)


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
    """Call a function of ours in a context of its own, and where this thread may hold locks, in another.

    Args:
        end: The function, which does not raise.
    """
    collecting = threading.get_ident() in _collecting and not sys.is_finalizing()  # When no thread can be started.
    if not (collecting or _inside_locks()):
        # Inside ContextVar.set() a second change of the context frees what the first is reading: python/cpython#148891.
        contextvars.copy_context().run(end)
        return
    # In one queue: what lies further inside comes first, and is to end first.
    _ends.append((os.getpid(), end))
    latest = _threads[0] if _threads else None
    if latest is not None and latest.waits and latest.is_alive():
        return
    thread = _Thread(latest)
    with contextlib.suppress(RuntimeError):  # There may be too many. Then the next has this end to do, too.
        thread.start()
        _threads.append(thread)


class _Thread(threading.Thread):
    """Does all ends there are, once the one before it has, which may be waiting for a lock.

    Attributes:
        waits: Whether it has yet to begin: as long as it has, what is added is done.
    """

    def __init__(self, before: _Thread | None) -> None:
        super().__init__(name="ai-lib-end", daemon=True)
        self._before = before
        self.waits = True

    def run(self) -> None:
        """Do them."""
        before, self._before = self._before, None
        if before is not None:
            before.join()
        self.waits = False
        while _ends:
            with contextlib.suppress(IndexError, SystemExit):  # A hook may want to end the program.
                process, end = _ends.popleft()
                if process == os.getpid():  # Else it forked, and its parent does that.
                    contextvars.Context().run(end)


def _inside_locks() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if f"{frame.f_globals.get('__name__')}.".startswith(_LOCKING):
            return True
        frame = frame.f_back
    return False
