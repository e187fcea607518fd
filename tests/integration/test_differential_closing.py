"""Streams that others wrap, close, leave or resume: what happens, in which order and when, is the same with us."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import copy_context
from typing import Any

import httpx
import pytest
import wrapt
from ai_lib_python import AiClient
from ai_lib_python.pipeline.base import Decoder, EventMapper, Transform
from opentelemetry.instrumentation.utils import suppress_instrumentation
from test_differential_streams import Chunks
from test_stream_consumers import settle

from differential import Both, Run, both, compare, operations
from in_process import FRAMES
from provider import delta, events
from recorder import Recorder

Consumer = Callable[[Run, Any], Awaitable[Any]]


class Failing(Chunks):
    """A body that cannot be closed.

    Args:
        error: What it raises.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(FRAMES, None)
        self._error = error

    async def aclose(self) -> None:
        """Raise."""
        raise self._error


def compared(
    recorder: Recorder,
    consume: Consumer,
    make: Callable[[], Any] = lambda: Chunks(FRAMES, None),
    *,
    suppressed: bool = False,
) -> Both:
    """Read a stream twice; what the event loop complains of is compared, too.

    Args:
        recorder: Records the second time.
        consume: Gets the request.
        make: Makes the provider's answer.
        suppressed: Whether nothing is to be recorded.
    """

    async def call(run: Run, request: Any) -> Any:
        complaints = run.keep([])
        asyncio.get_running_loop().set_exception_handler(
            lambda _, told: complaints.append([told["message"], told.get("exception")])
        )
        with suppress_instrumentation() if suppressed else contextlib.nullcontext():
            return await consume(run, request)

    seen = compare(recorder, lambda run: httpx.Response(200, stream=run.keep(make())), call)
    assert "error" not in seen.without
    assert len(operations(recorder)) == (not suppressed)
    return seen


async def leave(run: Run, request: Any) -> None:
    """Leave a stream after its first event."""
    stream = request.stream()
    async for _ in stream:
        break
    await stream.aclose()
    del stream
    await settle()


# --- another library's wrapper around the runtime's iterator ---


class Iterator:
    """An iterator that cannot be closed."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        return await self._source.__anext__()


class Iterable:
    """No iterator, but something that has one."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __aiter__(self) -> Any:
        return self._source.__aiter__()


async def read(run: Run, request: Any) -> Any:
    """Read a stream to its end."""
    return [event async for event in request.stream()]


@pytest.mark.parametrize("kind", [Iterator, Iterable])
@pytest.mark.parametrize("consume", [read, leave])
@pytest.mark.parametrize("suppressed", [False, True])
def test_what_another_library_made_of_the_runtimes_iterator_is_iterated(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, kind: type, consume: Consumer, suppressed: bool
) -> None:
    def wrap(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return kind(wrapped(*args, **kwargs))

    wrapper = wrapt.FunctionWrapper(AiClient._execute_stream, wrap)
    monkeypatch.setattr(AiClient, "_execute_stream", wrapper)
    compared(recorder, consume, suppressed=suppressed)


# --- who closes what ---


class Told(Decoder):
    """A decoder that tells when it is closed."""

    def __init__(self, decoder: Any, order: list[str]) -> None:
        self._decoder, self._order = decoder, order

    async def decode(self, byte_stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """Decode as the runtime's."""
        try:
            async for frame in self._decoder.decode(byte_stream):
                yield frame
        finally:
            self._order.append("decoder closed")


class TidyMapper(EventMapper):
    """A mapper that makes one event and closes the frames."""

    def __init__(self, mapper: Any, order: list[str]) -> None:
        self._mapper, self._order = mapper, order

    async def map_events(self, frames: Any) -> AsyncIterator[Any]:
        """Map as the runtime's."""
        async with contextlib.aclosing(frames):
            async for event in self._mapper.map_events(frames):
                yield event
                break
        self._order.append("closer done")


class TidyTransform(Transform):
    """A transform that passes one frame on and closes the others."""

    def __init__(self, order: list[str]) -> None:
        self._order = order

    async def transform(self, frames: Any) -> AsyncIterator[Any]:
        """Leave the frame as it is."""
        async with contextlib.aclosing(frames):
            yield await frames.__anext__()
        self._order.append("closer done")


@pytest.mark.parametrize("closer", ["mapper", "transform"])
async def test_a_part_that_closes_its_frames_closes_the_decoder(recorder: Recorder, closer: str) -> None:
    async def scenario(run: Run) -> list[str]:
        ai = await run.client()
        order: list[str] = run.keep([])
        parts = vars(ai._pipeline)
        parts["_decoder"] = Told(parts["_decoder"], order)
        if closer == "mapper":
            parts["_event_mapper"] = TidyMapper(parts["_event_mapper"], order)
        else:
            parts["_transforms"] = [TidyTransform(order)]
        async for event in ai.chat().user("Hello?").stream():
            order.append(event.event_type)
        await settle()
        return order

    seen = await both(recorder, scenario, events(delta("Hel"), delta("lo"), delta(finish="stop")))
    assert seen.differences() == []
    assert seen.without["result"] == [
        "builtins.list",
        "'PartialContentDelta'",
        "'decoder closed'",
        "'closer done'",
    ]


@pytest.mark.parametrize("error", [RuntimeError("Event loop is closed"), OSError("broken")], ids=repr)
def test_a_response_that_cannot_be_closed_is_told_of(recorder: Recorder, error: Exception) -> None:
    seen = compared(recorder, leave, lambda: Failing(error))
    assert repr(str(error)) in repr(seen.without["kept"])


@pytest.mark.parametrize("suppressed", [False, True])
@pytest.mark.parametrize("with_stats", [False, True])
def test_a_response_is_closed_as_soon_as_without_us(recorder: Recorder, suppressed: bool, with_stats: bool) -> None:
    async def call(run: Run, request: Any) -> int:
        stream = (await request.stream_with_stats())[0] if with_stats else request.stream()
        await stream.__anext__()
        (body,) = (kept for kept in run.kept if isinstance(kept, Chunks))
        await stream.aclose()
        del stream
        for turns in range(12):
            if body.closed:
                return turns
            await asyncio.sleep(0)
        raise AssertionError("it is not closed")

    compared(recorder, call, suppressed=suppressed)


# --- who resumes what ---


@pytest.mark.noisy("opentelemetry")  # It is told that its token is another context's, and there is no helping it.
def test_a_step_may_be_resumed_in_another_context_than_it_began_in(recorder: Recorder) -> None:
    async def call(run: Run, request: Any) -> list[str]:
        stream, received = request.stream(), run.keep([])
        while True:
            step, contexts = stream.__anext__(), [copy_context(), copy_context()]
            try:
                while True:
                    contexts[0].run(step.send, None)
                    contexts.reverse()
            except StopIteration as answer:
                received.append(answer.value.event_type)
            except StopAsyncIteration:
                return received

    seen = compared(recorder, call)
    assert seen.without["result"] == ["builtins.list", "'PartialContentDelta'", "'PartialContentDelta'", "'Metadata'"]
