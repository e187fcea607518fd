"""Ends that a garbage collection may bring about: in a thread of their own where this one may hold locks."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from in_process import ENDING as THREAD
from in_process import await_ends
from opentelemetry_instrumentation_ailib import collected
from opentelemetry_instrumentation_ailib.collected import call_unlocked, closes, unlocked

LOCKING = [
    "opentelemetry.sdk",
    "opentelemetry.sdk.metrics._internal.aggregation",
    "logging",
    "logging.handlers",
    "queue",
    "ai_lib_python.telemetry.metrics",
]
# The runtime's and the application's, whatever their names begin with; some have none.
HARMLESS = ["ai_lib_python.client.core", "opentelemetry.sdk_of_mine", "logging_setup", "queueing", "", None]


def called_from(module: Any, function: Callable[[], object]) -> None:
    """Call a function from a module of that name."""
    exec("function()", {"__name__": module, "function": function})  # noqa: S102


class Ends:
    """Ends that are noted, each with the thread in which it came."""

    def __init__(self) -> None:
        self.noted: list[tuple[Any, str]] = []

    def note(self, what: Any = None) -> None:
        """End."""
        self.noted.append((what, threading.current_thread().name))


def failed(error: BaseException | None, end: Callable[[], object]) -> Callable[[], None]:
    """Return a function that meets an exception and handles it by an end; without one, it just ends."""

    def call() -> None:
        if error is None:
            end()
            return
        try:
            raise error
        except BaseException:
            end()

    return call


@pytest.fixture
def ends() -> Ends:
    return Ends()


# --- where ---


@pytest.mark.parametrize("module", LOCKING)
def test_where_a_lock_may_be_held_it_is_called_in_a_thread_of_its_own(module: str, ends: Ends) -> None:
    called_from(module, lambda: call_unlocked(ends.note))
    await_ends()
    assert ends.noted == [(None, THREAD)]


@pytest.mark.parametrize("module", LOCKING)
def test_the_lock_may_be_held_further_up(module: str, ends: Ends) -> None:
    called_from(module, lambda: called_from("application", lambda: call_unlocked(ends.note)))
    await_ends()
    assert ends.noted == [(None, THREAD)]


@pytest.mark.parametrize("module", HARMLESS)
def test_elsewhere_it_is_called_at_once(module: str | None, ends: Ends) -> None:
    called_from(module, lambda: call_unlocked(ends.note))
    assert ends.noted == [(None, "MainThread")]


class Circle:
    """Ends when it is collected, and not before."""

    def __init__(self, ends: Ends) -> None:
        self.ends, self.itself = ends, self

    def __del__(self) -> None:
        call_unlocked(self.ends.note)


def test_in_a_collection_any_lock_may_be_held(ends: Ends) -> None:
    """Whoever's it is: nobody's name tells."""
    callbacks = list(gc.callbacks)
    for _ in range(2):  # To begin twice is to begin.
        collected.begin()
    Circle(ends)
    gc.collect()
    await_ends()
    called_from("application", lambda: call_unlocked(ends.note))
    collected.end()
    assert gc.callbacks == callbacks
    Circle(ends)
    gc.collect()
    assert ends.noted == [(None, THREAD), (None, "MainThread"), (None, "MainThread")]


def test_the_collection_of_another_thread_holds_nothing_of_this_one(ends: Ends) -> None:
    collected.begin()
    inside, go = threading.Event(), threading.Event()

    class Slow(Circle):
        def __del__(self) -> None:
            inside.set()
            go.wait(10)

    Slow(ends)
    thread = threading.Thread(target=gc.collect)
    thread.start()
    assert inside.wait(10)
    call_unlocked(ends.note)
    go.set()
    thread.join(10)
    collected.end()
    assert ends.noted == [(None, "MainThread")]


def test_a_frame_that_is_of_no_module_is_no_fault(ends: Ends) -> None:
    exec("call_unlocked(note)", {"call_unlocked": call_unlocked, "note": ends.note})  # noqa: S102
    assert ends.noted == [(None, "MainThread")]


# --- in which context ---

SEEN: ContextVar[str] = ContextVar("seen", default="untouched")


def change() -> None:
    """Change the current context."""
    assert SEEN.get() == "outside"
    SEEN.set("inside")


@pytest.mark.parametrize("end", [lambda: call_unlocked(change), failed(GeneratorExit(), unlocked(change))])
def test_it_sees_the_context_and_changes_its_own(end: Callable[[], object]) -> None:
    """Which a garbage collection may have interrupted in the middle of a change."""
    token = SEEN.set("outside")
    end()
    assert SEEN.get() == "outside"
    SEEN.reset(token)


# --- in which order ---


def test_several_come_in_the_order_of_their_calls(ends: Ends) -> None:
    go = threading.Event()

    def wait() -> None:
        go.wait(10)
        ends.note(0)

    def end_all() -> None:
        call_unlocked(wait)
        for number in (1, 2, 3):
            call_unlocked(partial(ends.note, number))

    called_from("opentelemetry.sdk.trace", end_all)
    go.set()
    await_ends()
    assert ends.noted == [(number, THREAD) for number in range(4)]


def test_what_there_can_be_no_thread_for_is_left_to_the_next(monkeypatch: pytest.MonkeyPatch, ends: Ends) -> None:
    """Which waits for none that never began."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        called_from("logging", lambda: call_unlocked(partial(ends.note, "first")))
    called_from("logging", lambda: call_unlocked(partial(ends.note, "next")))
    await_ends()
    assert ends.noted == [("first", THREAD), ("next", THREAD)]


def test_many_take_few_threads(ends: Ends) -> None:
    lock, before = threading.Lock(), threading.active_count()

    def end(number: int) -> None:
        with lock:
            ends.note(number)

    def end_all() -> None:
        for number in range(1000):
            call_unlocked(partial(end, number))

    with lock:
        called_from("opentelemetry.sdk.trace", end_all)
        assert threading.active_count() - before <= 2
    await_ends()
    assert ends.noted == [(number, THREAD) for number in range(1000)]


def test_one_that_ends_the_program_ends_no_other(ends: Ends) -> None:
    """In a thread it ends that alone. What it changes in the context is its own, too."""
    go = threading.Event()

    def leave() -> None:
        go.wait(10)
        SEEN.set("left")
        raise SystemExit

    def end_all() -> None:
        call_unlocked(leave)
        call_unlocked(lambda: ends.note(SEEN.get()))

    called_from("logging", end_all)
    go.set()
    await_ends()
    assert ends.noted == [("untouched", THREAD)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_its_parents_thread_nor_do_its_work(ends: Ends) -> None:
    go = threading.Event()
    called_from("logging", lambda: call_unlocked(lambda: go.wait(10)))
    called_from("logging", lambda: call_unlocked(ends.note))
    child = os.fork()
    if child == 0:
        ends.noted.clear()
        called_from("logging", lambda: call_unlocked(partial(ends.note, "child")))
        await_ends()
        os._exit(0 if ends.noted == [("child", THREAD)] else 1)
    go.set()
    await_ends()
    assert os.waitpid(child, 0)[1] == 0
    assert ends.noted == [(None, THREAD)]


# --- where the process ends ---

LAST = """
import gc, threading, time
from opentelemetry_instrumentation_ailib import collected

class Circle:
    def __init__(self):
        self.itself = self

    def __del__(self):
        collected.call_unlocked(end)

def end():
    {end}
    print("ended", flush=True)

collected.begin()
Circle()
gc.collect()
"""
LATE = """
import gc, threading
from opentelemetry_instrumentation_ailib import collected

class Late:
    def __init__(self):
        self.collect = gc.collect

    def __del__(self):
        self.collect()

collected.begin()
threading.late = Late()
"""


def _run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout


def test_what_was_collected_last_still_ends() -> None:
    """Before what shuts down the SDK, which was there first."""
    assert _run(LAST.format(end="time.sleep(0.5)")) == "ended\n"


def test_what_hangs_does_not_hang_the_process() -> None:
    began = time.monotonic()
    assert _run(LAST.format(end="threading.Event().wait()")) == ""
    assert time.monotonic() - began < 30


def test_a_collection_after_the_end_of_all_modules_says_nothing() -> None:
    assert _run(LATE) == ""


# --- when ---

CLOSING = [GeneratorExit(), RuntimeError("cannot reuse already awaited coroutine")]
OTHERS = [ValueError(), asyncio.CancelledError(), KeyboardInterrupt(), StopAsyncIteration()]


@pytest.mark.parametrize("error", CLOSING, ids=repr)
def test_what_is_closed_may_have_been_collected(error: BaseException, ends: Ends) -> None:
    assert closes(error)
    called_from("opentelemetry.sdk", failed(error, unlocked(ends.note)))
    await_ends()
    assert ends.noted == [(None, THREAD)]


@pytest.mark.parametrize("error", [*OTHERS, None], ids=repr)
def test_nothing_else_has_been(error: BaseException | None, ends: Ends) -> None:
    """So that an end costs no look at the stack, which may be a long one."""
    assert not closes(error)
    called_from("opentelemetry.sdk", failed(error, unlocked(ends.note)))
    assert ends.noted == [(None, "MainThread")]


@pytest.mark.parametrize(("error", "thread"), [(GeneratorExit(), THREAD), (ValueError(), "MainThread")], ids=repr)
def test_it_gets_its_arguments_and_keeps_its_name(error: BaseException, thread: str) -> None:
    got: list[Any] = []

    def end(*args: Any, **kwargs: Any) -> None:
        """End something."""
        got.append((args, kwargs, threading.current_thread().name))

    wrapped = unlocked(end)
    called_from("queue", failed(error, lambda: wrapped("span", error="cancelled")))
    await_ends()
    assert got == [(("span",), {"error": "cancelled"}, thread)]
    assert (wrapped.__name__, wrapped.__doc__) == ("end", "End something.")
