"""A short soak, and that it would have seen what it looks for: leaks, lost counts, and what is left over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from books import LABELS
from census import Census
from cycles import run
from findings import Result, Settings
from hooks import HookError

from opentelemetry_instrumentation_ailib import operation_end
from resilient import own_components  # noqa: F401 - a fixture

SHORT = Settings(seconds=8.0, cycle=1.2, workers=4, names=50)
TINY = Settings(seconds=0.2, cycle=0.1, workers=1, names=1)

Plant = Callable[[Any], object]


def soaked(settings: Settings) -> Result:
    return run(settings, lambda line: None)


def test_nothing_is_left_over_and_everything_is_counted(mock: str) -> None:
    """For some seconds, everything at once: streams, threads, a socket, instrumentation that comes and goes."""
    result = soaked(replace(SHORT, remote=mock))
    assert result.violations == []
    assert {metric for metric, _ in result.books.counts} == LABELS.keys() - {"ai_lib.requests.in_flight"}
    assert result.spans["started"] > 1000
    assert min(*result.hooks.values(), *result.spans.values()) > 0
    # The queue in front of the exporter that fails was full.
    assert sum(result.spans[made] for made in ("taken", "refused", "lost")) < result.spans["ended"]
    assert result.rounds == 9 * len(result.rests[::2])


# --- what is planted is found ---


@pytest.fixture
def kept() -> Iterator[list[Any]]:
    """What outlives a soak, and is let go of after the test."""
    things: list[Any] = []
    yield things
    for thing in things:
        if isinstance(thing, threading.Event):
            thing.set()


@pytest.fixture
def at_each_end(monkeypatch: pytest.MonkeyPatch) -> Callable[[Plant], None]:
    """Has something done with each operation that ends."""

    def plant(doing: Plant) -> None:
        end = operation_end.end

        def planted(operation: Any, *arguments: Any) -> None:
            doing(operation)
            end(operation, *arguments)

        monkeypatch.setattr(operation_end, "end", planted)

    return plant


def once(doing: Plant) -> Plant:
    """Return what does something to the first operation only."""
    left = [doing]
    return lambda operation: left.pop()(operation) if left else None


def answer_again(operation: Any) -> None:
    """Call the response hook once more. The first time that it is called, it raises."""
    with contextlib.suppress(HookError):
        operation.telemetry.response_hook(operation.span, None)


PLANTS: dict[str, tuple[Plant, str]] = {
    "an attempt counted twice": (
        lambda operation: operation.telemetry.instruments.attempts.add(
            1, {"provider": "p", "model": "m", "kind": "initial", "type": "ok"}
        ),
        r"ai_lib\.attempts\['initial', 'ok'\]: (\d+) happened, (?!\1)\d+ counted",
    ),
    "a call in flight": (
        lambda operation: operation.telemetry.instruments.requests_in_flight.add(1, operation.asked.labels),
        r"ai_lib\.requests\.in_flight\[\]: 0 happened, 1 counted",
    ),
    "a span never ended": (
        lambda operation: operation.telemetry.tracer.start_span("x"),
        r"(\d+) spans started, (?!\1)\d+ ended",
    ),
    "a hook called twice": (answer_again, r"hooks, response: (\d+) expected, (?!\1)\d+ counted"),
    "what a hook raised, not swallowed": (answer_again, r"hooks, raised: (\d+) expected, (?!\1)\d+ counted"),
    "a complaint": (
        lambda operation: logging.getLogger("opentelemetry.planted").warning("Oh dear."),
        r"opentelemetry\.planted: Oh dear\.",
    ),
}


@pytest.mark.noisy("opentelemetry")
@pytest.mark.parametrize(("plant", "found"), PLANTS.values(), ids=PLANTS)
def test_one_mistake_is_found(at_each_end: Callable[[Plant], None], plant: Plant, found: str) -> None:
    at_each_end(once(plant))
    assert [each for each in soaked(TINY).violations if re.search(found, each)]


def test_operations_that_are_kept_are_found(at_each_end: Callable[[Plant], None], kept: list[Any]) -> None:
    at_each_end(kept.append)
    assert any(re.search("objects of ours .*'Operation': ", each) for each in soaked(TINY).violations)


def test_a_thread_and_a_task_left_over_are_found(at_each_end: Callable[[Plant], None], kept: list[Any]) -> None:
    kept.append(threading.Event())

    def leave(operation: Any) -> None:
        threading.Thread(target=kept[0].wait, name="left over").start()
        kept.append(asyncio.ensure_future(asyncio.sleep(3600)))

    at_each_end(once(leave))
    violations = soaked(TINY).violations
    assert any("threads became" in each and "left over" in each for each in violations)
    assert any("tasks left" in each and "sleep" in each for each in violations)


def rests(blocks: int, mebibytes: float) -> Result:
    """Return the result of a soak of 2,000 calls a cycle in which memory grew by so much in each."""
    cycles = range(8)
    return Result(
        rests=[Census(500_000 + number * blocks, 100 + number * mebibytes) for number in cycles],
        made=[number * 2_000 for number in cycles],
    )


@pytest.mark.parametrize(
    ("blocks", "mebibytes", "found"),
    [(100, 0.1, []), (2_000, 0.1, ["8000 more blocks of memory"]), (0, 3.0, ["12.0 MiB more"])],
    ids=["noise", "a block a call", "what Python does not hand out"],
)
def test_memory_that_grows_is_found(blocks: int, mebibytes: float, found: list[str]) -> None:
    assert rests(blocks, mebibytes).grown() == [f"{each} in 10000 calls" for each in found]
