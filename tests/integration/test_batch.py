"""Batches: the span around the calls of the items, and that nothing else about a batch changes."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ai_lib_python.batch import BatchExecutor
from ai_lib_python.batch.executor import batch_execute
from opentelemetry.context import get_current
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode

import opentelemetry_instrumentation_ailib as package
from conftest import client
from differential import Run, both
from opentelemetry_instrumentation_ailib.operations import batch
from opentelemetry_instrumentation_ailib.patching import Patcher
from recorder import Recorder

BATCH = "ai_lib.batch"
Operation = Callable[[Any], Awaitable[Any]]
Way = Callable[..., Awaitable[Any]]


@pytest.fixture(autouse=True)
def batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "ROWS", tuple(dict.fromkeys((*package.ROWS, *batch.ROWS))))


def plain(operation: Operation, items: Any, limit: int = 2, **options: Any) -> Awaitable[Any]:
    return BatchExecutor(operation, limit, **options).execute(items)


def by_keyword(operation: Operation, items: Any, limit: int = 2, **options: Any) -> Awaitable[Any]:
    return BatchExecutor(operation, limit, **options).execute(items=items)


def with_progress(operation: Operation, items: Any, limit: int = 2, **options: Any) -> Awaitable[Any]:
    return BatchExecutor(operation, limit, **options).execute_with_progress(items, lambda done, total: None)


def at_once(operation: Operation, items: Any, limit: int = 2, **options: Any) -> Awaitable[Any]:
    return batch_execute(items, operation, limit, **options)


WAYS = [plain, by_keyword, with_progress, at_once]


async def double(item: Any) -> Any:
    """An operation that takes a moment and refuses odd numbers."""
    await asyncio.sleep(0)
    if item % 2:
        raise ValueError(item)
    return item * 2


# --- spans ---


@pytest.mark.parametrize("way", WAYS)
async def test_the_calls_of_the_items_are_children_of_the_batch_and_it_is_one_of_the_callers_span(
    instrumented: Recorder, mock: str, way: Way
) -> None:
    ai = await client(base_url=mock)

    async def ask(item: str) -> str:
        response = await ai.chat().user(item).execute()
        return str(response.content)

    with instrumented.tracer_provider.get_tracer("app").start_as_current_span("app"):
        result = await way(ask, ["one", "two", "three"])
    await ai.close()

    assert result.all_successful
    span = instrumented.span(BATCH)
    assert span.kind is SpanKind.INTERNAL
    assert dict(span.attributes or {}) == {
        "ai_lib.batch.size": 3,
        "ai_lib.batch.concurrency": 2,
        "ai_lib.batch.failed": 0,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
    assert [child.name for child in instrumented.children(span)] == ["chat gpt-4o"] * 3
    assert [child.name for child in instrumented.children(instrumented.span("app"))] == [BATCH]


@pytest.mark.parametrize("way", WAYS)
async def test_a_batch_outside_of_any_span_begins_a_trace(instrumented: Recorder, way: Way) -> None:
    await way(double, [2])
    assert instrumented.span(BATCH).parent is None


@pytest.mark.parametrize("way", WAYS)
async def test_items_that_fail_are_counted_and_are_no_error_of_the_batch(instrumented: Recorder, way: Way) -> None:
    result = await way(double, [1, 2, 3])
    span = instrumented.span(BATCH)
    assert dict(span.attributes or {}) == {
        "ai_lib.batch.size": 3,
        "ai_lib.batch.concurrency": 2,
        "ai_lib.batch.failed": result.failed_count,
    }
    assert result.failed_count == 2
    assert span.status.status_code is StatusCode.UNSET


async def test_of_a_batch_that_fails_fast_the_items_that_failed_are_counted(instrumented: Recorder) -> None:
    """Not those that it called off, which the runtime counts as no failures."""
    await plain(double, [1, 2, 3, 4], limit=1, fail_fast=True)
    span = instrumented.span(BATCH)
    assert (span.attributes or {})["ai_lib.batch.failed"] == 1
    assert span.status.status_code is StatusCode.UNSET


async def test_an_empty_batch_is_a_batch(instrumented: Recorder) -> None:
    await plain(double, [])
    assert dict(instrumented.span(BATCH).attributes or {}) == {
        "ai_lib.batch.size": 0,
        "ai_lib.batch.concurrency": 2,
        "ai_lib.batch.failed": 0,
    }


@pytest.mark.parametrize("way", WAYS)
async def test_a_batch_that_is_cancelled_is_an_error(instrumented: Recorder, way: Way) -> None:
    begun = asyncio.Event()

    async def wait(item: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def run() -> Any:
        return await way(wait, [1, 2])

    task = asyncio.ensure_future(run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    span = instrumented.span(BATCH)
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert dict(span.attributes or {}) == {
        "ai_lib.batch.size": 2,
        "ai_lib.batch.concurrency": 2,
        "error.type": "cancelled",
    }


@pytest.mark.parametrize("way", WAYS)
async def test_a_batch_that_raises_is_an_error(instrumented: Recorder, way: Way) -> None:
    with pytest.raises(TypeError):
        await way(double, iter([2]))
    span = instrumented.span(BATCH)
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == {"ai_lib.batch.concurrency": 2, "error.type": "TypeError"}


async def test_a_limit_beyond_what_an_attribute_carries_is_left_out(instrumented: Recorder) -> None:
    await plain(double, [2], limit=2**70)
    assert dict(instrumented.span(BATCH).attributes or {}) == {"ai_lib.batch.size": 1, "ai_lib.batch.failed": 0}


async def test_batches_at_the_same_time_keep_their_items_apart(instrumented: Recorder) -> None:
    tracer = instrumented.tracer_provider.get_tracer("app")

    async def work(item: int) -> None:
        await asyncio.sleep(0)
        with tracer.start_as_current_span(f"item {item}"):
            await asyncio.sleep(0)

    await asyncio.gather(plain(work, [1, 1]), with_progress(work, [2, 2, 2]))
    batches = [span for span in instrumented.spans() if span.name == BATCH]
    assert sorted([child.name for child in instrumented.children(span)] for span in batches) == [
        ["item 1"] * 2,
        ["item 2"] * 3,
    ]


async def test_a_batch_of_batches_is_a_tree(instrumented: Recorder) -> None:
    await plain(lambda items: with_progress(double, items), [[2, 4], [6]])
    (outer,) = (span for span in instrumented.spans() if span.parent is None)
    inner = instrumented.children(outer)
    assert {(span.attributes or {})["ai_lib.batch.size"] for span in inner} == {1, 2}
    assert len(instrumented.spans()) == 3


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_recorded_where_instrumentation_is_suppressed(instrumented: Recorder, way: Way) -> None:
    with suppress_instrumentation():
        result = await way(double, [2, 4])
    assert result.results == [4, 8]
    assert instrumented.spans() == []


async def test_a_batch_that_is_closed_from_another_context_ends_its_span(instrumented: Recorder) -> None:
    """As at the shutdown of a loop, where whoever collects what is left closes it."""
    others = asyncio.all_tasks()
    coroutine: Any = plain(double, [2])
    contextvars.copy_context().run(coroutine.send, None)
    coroutine.close()
    await asyncio.wait(asyncio.all_tasks() - others)
    span = instrumented.span(BATCH)
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == {
        "ai_lib.batch.size": 1,
        "ai_lib.batch.concurrency": 2,
        "error.type": "cancelled",
    }


# --- the same as without ---


def outcome(result: Any) -> Any:
    """Return a result without its time, of which only the type is compared."""
    result.total_time_ms = type(result.total_time_ms).__name__
    return result


async def cancelling(item: Any) -> Any:
    if item == 3:
        raise asyncio.CancelledError
    return await double(item)


class Odd:
    """Items that are no list, and one of which raises on its way."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        if index == 2:
            raise IndexError
        return index * 2


class Fickle(Odd):
    def __len__(self) -> int:
        raise PermissionError("length")


ITEMS: dict[str, tuple[Operation, Any]] = {
    "success": (double, [2, 4, 6]),
    "nothing": (double, []),
    "failures": (double, [1, 2, 3, 4]),
    "cancellation of an item": (cancelling, [2, 3, 4]),
    "a tuple": (double, (2, 4)),
    "a string": (asyncio.sleep, "ab"),
    "no list": (double, Odd()),
    "no length": (double, iter([2])),
    "a length that raises": (double, Fickle()),
    "None": (double, None),
    "no coroutine function": (lambda item: item, [1, 2]),
}


@pytest.mark.parametrize("fail_fast", [False, True])
@pytest.mark.parametrize(("operation", "items"), ITEMS.values(), ids=ITEMS)
@pytest.mark.parametrize("way", WAYS)
async def test_results_and_exceptions_are_those_without(
    recorder: Recorder, way: Way, operation: Operation, items: Any, fail_fast: bool
) -> None:
    async def scenario(run: Run) -> Any:
        return outcome(await way(operation, items, fail_fast=fail_fast))

    seen = await both(recorder, scenario, [])
    assert seen.differences() == []
    assert recorder.names() == [BATCH]


@pytest.mark.parametrize("arguments", [(), ([2], None, "too many")])
@pytest.mark.parametrize("name", ["execute", "execute_with_progress"])
async def test_wrong_arguments_are_refused_as_without(recorder: Recorder, name: str, arguments: Any) -> None:
    async def scenario(run: Run) -> Any:
        return await getattr(BatchExecutor(double), name)(*arguments)

    seen = await both(recorder, scenario, [])
    assert seen.differences() == []
    assert "TypeError" in str(seen.without)


@pytest.mark.parametrize("fails", [False, True])
async def test_progress_is_reported_as_without(recorder: Recorder, fails: bool) -> None:
    async def scenario(run: Run) -> Any:
        calls = run.keep([])

        def progress(done: int, total: int) -> None:
            calls.append((done, total))
            if fails and done == 2:
                raise RuntimeError("progress")

        return outcome(await BatchExecutor(double, 1).execute_with_progress([2, 3, 4], on_progress=progress))

    seen = await both(recorder, scenario, [])
    assert seen.differences() == []
    assert len(seen.without["kept"][1]) == 4


@pytest.mark.parametrize("way", WAYS)
async def test_no_more_items_run_at_once_than_without(recorder: Recorder, way: Way) -> None:
    async def scenario(run: Run) -> Any:
        running = 0
        most = run.keep([])

        async def work(item: Any) -> None:
            nonlocal running
            running += 1
            most.append((item, running))
            await asyncio.sleep(0)
            running -= 1

        return outcome(await way(work, [1, 2, 3, 4, 5]))

    seen = await both(recorder, scenario, [])
    assert seen.differences() == []


@pytest.mark.parametrize("fail_fast", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_cancellation_reaches_the_items_as_without(recorder: Recorder, way: Way, fail_fast: bool) -> None:
    async def scenario(run: Run) -> Any:
        events = run.keep([])
        begun = asyncio.Event()

        async def wait(item: Any) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                events.append(f"{item} cancelled")
                raise

        async def run_it() -> Any:
            return await way(wait, [1, 2, 3], fail_fast=fail_fast)

        task = asyncio.ensure_future(run_it())
        await begun.wait()
        task.cancel("enough")
        return await task

    seen = await both(recorder, scenario, [])
    assert seen.differences() == []
    assert len(seen.without["kept"][1]) > 1


async def test_the_context_of_the_caller_stays_current(instrumented: Recorder) -> None:
    context = get_current()
    await plain(double, [2])
    assert get_current() is context
    with pytest.raises(TypeError):
        await plain(double, None)
    assert get_current() is context


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
async def test_a_batch_runs_where_we_fail() -> None:
    class Broken:
        def start_span(self, *args: Any, **kwargs: Any) -> Any:
            raise LookupError

    patcher = Patcher()
    patcher.apply(batch.ROWS, SimpleNamespace(tracer=Broken()))
    try:
        result = await plain(double, [2, 3])
    finally:
        patcher.undo()
    assert (result.results, result.failed_count) == ([4, None], 1)


# --- rows ---

LATER = """
import sys
from types import FunctionType, SimpleNamespace
from opentelemetry_instrumentation_ailib.operations import batch
from opentelemetry_instrumentation_ailib.patching import Patcher
patcher = Patcher()
patcher.apply(batch.ROWS, SimpleNamespace(tracer=None))
assert not [name for name in sys.modules if name.startswith("ai_lib_python")]
from ai_lib_python.batch import BatchExecutor
print([type(vars(BatchExecutor)[name]) is FunctionType for name in ("execute", "execute_with_progress")])
patcher.undo()
print([type(vars(BatchExecutor)[name]) is FunctionType for name in ("execute", "execute_with_progress")])
"""


def test_the_executor_is_patched_when_it_is_imported_and_restored_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", LATER], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[False, False]", "[True, True]"]
