"""Whatever the consumer does with a stream: one span, ended once, in nobody's way, and nothing kept."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import get_logger
from opentelemetry.util.genai.types import ContentCapturingMode
from test_chat import LABELS, OPERATION

from conftest import client
from in_process import ENDING, await_ends
from opentelemetry_instrumentation_ailib import streaming
from opentelemetry_instrumentation_ailib.config import Config
from opentelemetry_instrumentation_ailib.content import Content
from opentelemetry_instrumentation_ailib.live import LiveComponents
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.stream_end import end_stream
from opentelemetry_instrumentation_ailib.telemetry import Telemetry
from provider import Step, delta, events, provider
from recorder import Recorder

# Two events, and then the provider keeps the stream open.
OPEN: list[Step] = [*events(delta("Hel"), delta("lo"), done=False, end=False), 30.0]


def ended(recorder: Recorder) -> list[str]:
    """The outcomes of the operation spans that have ended."""
    return [
        str((span.attributes or {})["ai_lib.stream.outcome"]) for span in recorder.spans() if span.name == OPERATION
    ]


def in_flight(recorder: Recorder) -> int:
    return sum(value for _, value in recorder.points("ai_lib.requests.in_flight"))


async def opened(base_url: str) -> tuple[Any, Any]:
    """A client and a stream of which one event has been read."""
    ai = await client(base_url=base_url)
    stream = ai.chat().user("Hello?").stream()
    await anext(stream)
    return ai, stream


async def settle() -> None:
    """Let the tasks run that close abandoned generators."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_stream_never_iterated_opens_nothing(instrumented: Recorder) -> None:
    async with provider(OPEN) as server:
        ai = await client(base_url=server.base_url)
        instrumented.clear()
        stream = ai.chat().user("Hello?").stream()
        await stream.aclose()
        with_stats, _ = await ai.chat().user("Hello?").stream_with_stats()
        await with_stats.aclose()
        await ai.close()

    assert server.requests == []
    assert instrumented.spans() == []
    assert instrumented.metric_names() == ["ai_lib.stage.duration"]  # of the protocol


async def test_break_and_drop_ends_the_span_at_once(instrumented: Recorder) -> None:
    async with provider(OPEN) as server:
        ai = await client(base_url=server.base_url)
        async for _ in ai.chat().user("Hello?").stream():
            break
        await settle()
        assert ended(instrumented) == ["abandoned"]
        assert in_flight(instrumented) == 0
        await ai.close()
        await settle()

    assert instrumented.names().count(OPERATION) == 1
    assert len(instrumented.spans()) == 6


async def test_break_and_keep_leaves_the_span_open_until_the_iterator_goes(instrumented: Recorder) -> None:
    async with provider(OPEN) as server:
        ai = await client(base_url=server.base_url)
        stream = ai.chat().user("Hello?").stream()
        async for _ in stream:
            break
        await settle()
        assert ended(instrumented) == []
        assert in_flight(instrumented) == 1
        del stream
        await settle()
        assert ended(instrumented) == ["abandoned"]
        await ai.close()

    assert in_flight(instrumented) == 0


async def test_aclose_ends_the_span(instrumented: Recorder) -> None:
    async with provider(OPEN) as server:
        ai, stream = await opened(server.base_url)
        await stream.aclose()
        await settle()
        assert ended(instrumented) == ["abandoned"]
        await stream.aclose()
        await ai.close()

    assert instrumented.names().count(OPERATION) == 1


async def test_aclose_of_the_iterator_itself_closes_the_runtimes(instrumented: Recorder) -> None:
    async with provider(OPEN) as server:
        ai = await client(base_url=server.base_url)
        builder = ai.chat().user("Hello?")
        builder._stream = True
        stream = ai._execute_stream(builder)
        await anext(stream)
        theirs = stream.ag_frame.f_locals["events"]
        assert theirs.ag_frame is not None
        await stream.aclose()
        assert theirs.ag_frame is None
        assert ended(instrumented) == ["abandoned"]
        await ai.close()


async def test_cancelling_while_handling_an_event_abandons_the_stream(instrumented: Recorder) -> None:
    handling = asyncio.Event()
    async with provider(OPEN) as server:
        ai = await client(base_url=server.base_url)

        async def handle() -> None:
            async for _ in ai.chat().user("Hello?").stream():
                handling.set()
                await asyncio.sleep(30)

        task = asyncio.ensure_future(handle())
        await handling.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        gc.collect()  # The exception's traceback holds the frame.
        await settle()
        await ai.close()

    assert ended(instrumented) == ["abandoned"]
    assert instrumented.points("ai_lib.errors") == []
    assert in_flight(instrumented) == 0


async def test_an_exception_in_the_body_passes_and_abandons_the_stream(instrumented: Recorder) -> None:
    async with provider(OPEN) as server:
        ai = await client(base_url=server.base_url)
        with pytest.raises(KeyError) as caught:
            async for _ in ai.chat().user("Hello?").stream():
                raise KeyError("the consumer's own")
        assert caught.value.args == ("the consumer's own",)
        del caught
        gc.collect()
        await settle()
        await ai.close()

    assert ended(instrumented) == ["abandoned"]
    assert instrumented.points("ai_lib.errors") == []


async def test_each_step_may_run_in_another_task(instrumented: Recorder) -> None:
    async with provider(events(delta("a"), delta("b"), delta(finish="stop"))) as server:
        ai = await client(base_url=server.base_url)
        stream = ai.chat().user("Hello?").stream()
        received = 0
        with pytest.raises(StopAsyncIteration):
            while True:
                await asyncio.ensure_future(stream.__anext__())
                received += 1
        await ai.close()

    assert received == 3
    assert ended(instrumented) == ["completed"]


async def test_two_streams_interleaved_keep_apart(instrumented: Recorder) -> None:
    async with provider(events(delta("a"), delta("b"), delta(finish="stop"))) as server:
        ai = await client(base_url=server.base_url)
        first, second = (ai.chat().user(f"{n}").stream() for n in range(2))
        for _ in range(3):
            await anext(first)
            await anext(second)
        assert [event async for event in first] == [event async for event in second] == []
        await ai.close()

    assert ended(instrumented) == ["completed", "completed"]
    for span in instrumented.spans():
        if span.name == OPERATION:
            assert len(instrumented.children(span)) == 4


async def test_the_consumer_works_in_its_own_span(instrumented: Recorder) -> None:
    tracer = instrumented.tracer_provider.get_tracer("app")
    async with provider(events(delta("a"), delta("b"), delta(finish="stop"))) as server:
        ai = await client(base_url=server.base_url)
        with tracer.start_as_current_span("handler") as handler:
            async for _ in ai.chat().user("Hello?").stream():
                assert trace.get_current_span() is handler
            assert trace.get_current_span() is handler
        await ai.close()

    span = instrumented.span(OPERATION)
    assert span.parent is not None
    assert span.parent.span_id == handler.get_span_context().span_id


async def test_the_runtimes_operators_work_in_the_operations_span(instrumented: Recorder) -> None:
    current = []

    class Spy:
        async def transform(self, frames: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for frame in frames:
                current.append(trace.get_current_span().get_span_context().span_id)
                yield frame

    async with provider(events(delta("a"), delta(finish="stop"))) as server:
        ai = await client(base_url=server.base_url)
        ai._pipeline = ai._pipeline.with_transform(Spy())
        assert len([event async for event in ai.chat().user("Hello?").stream()]) == 2
        await ai.close()

    assert set(current) == {instrumented.span(OPERATION).context.span_id}
    assert len(current) == 2


async def test_what_httpcore_logs_of_a_body_is_logged_in_the_operations_span(
    instrumented: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    current = {}

    def note(record: logging.LogRecord) -> bool:
        current[record.getMessage().partition(" ")[0]] = trace.get_current_span().get_span_context().span_id
        return True

    caplog.set_level(logging.DEBUG, "httpcore")
    caplog.handler.addFilter(note)
    async with provider(events(delta("a"), delta(finish="stop"), done=False, delay=0.05)) as server:
        ai = await client(base_url=server.base_url)
        assert len([event async for event in ai.chat().user("Hello?").stream()]) == 2
        await ai.close()

    operation = instrumented.span(OPERATION).context.span_id
    assert current["receive_response_body.complete"] == current["response_closed.complete"] == operation


async def test_an_iterator_asked_again_after_its_end_is_still_at_its_end(instrumented: Recorder) -> None:
    async with provider(events(delta("a", finish="stop"))) as server:
        ai = await client(base_url=server.base_url)
        stream = ai.chat().user("Hello?").stream()
        assert len([event async for event in stream]) == 2
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await ai.close()

    assert ended(instrumented) == ["completed"]


async def test_the_runtimes_cancellable_stream_works(instrumented: Recorder) -> None:
    from ai_lib_python.client import CancellableStream, create_cancel_pair

    async with provider(OPEN) as server:
        ai = await client(base_url=server.base_url)
        handle, token = create_cancel_pair()
        stream = CancellableStream(ai.chat().user("Hello?").stream(), token)
        await anext(stream)
        handle.cancel()
        received = [event async for event in stream]
        del stream
        gc.collect()
        await settle()
        await ai.close()

    assert received == []
    assert ended(instrumented) == ["abandoned"]


@pytest.mark.noisy("asyncio")  # The runtime's own generators, with or without us.
def test_a_stream_open_at_loop_shutdown_ends_its_span(instrumented: Recorder) -> None:
    kept: list[Any] = []

    async def main() -> None:
        async with provider(OPEN) as server:
            ai, stream = await opened(server.base_url)
            kept.extend([ai, stream])
            await ai.close()

    asyncio.run(main())
    assert ended(instrumented) == ["abandoned"]
    assert in_flight(instrumented) == 0


@pytest.mark.noisy("asyncio")  # The runtime's own generators, with or without us.
def test_a_stream_collected_after_its_loop_is_gone_ends_its_span(instrumented: Recorder) -> None:
    loop = asyncio.new_event_loop()
    kept: list[Any] = []

    async def main() -> None:
        async with provider(events(delta("a"), delta("b"), done=False)) as server:
            ai, stream = await opened(server.base_url)
            kept.append(stream)
            await ai.close()

    loop.run_until_complete(main())
    assert ended(instrumented) == []
    kept[0].ag_frame.f_locals  # noqa: B018 - the frame is alive
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    kept.clear()
    gc.collect()
    assert ended(instrumented) == ["abandoned"]


def dropped_inside_the_sdk(holder: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Drop what is held as if the garbage collector ran under a lock of the SDK; return who ends the stream."""
    ending: list[str] = []
    end = end_stream

    def spy(*args: Any, **kwargs: Any) -> None:
        ending.append(threading.current_thread().name)
        end(*args, **kwargs)

    monkeypatch.setattr(streaming, "end_stream", spy)
    exec("holder.clear()", {"__name__": "opentelemetry.sdk.metrics._internal", "holder": holder})  # noqa: S102
    await_ends()
    return ending


async def test_a_stream_collected_inside_the_sdk_ends_when_the_event_loop_comes_to_it(
    instrumented: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with provider(OPEN) as server:
        ai = await client(base_url=server.base_url)
        builder = ai.chat().user("Hello?")
        builder._stream = True
        holder = [ai._execute_stream(builder)]
        await anext(holder[0])
        ending = dropped_inside_the_sdk(holder, monkeypatch)
        assert ending == []
        await settle()
        await ai.close()
    assert ending == ["MainThread"]
    assert ended(instrumented) == ["abandoned"]


def test_a_stream_collected_inside_the_sdk_with_no_event_loop_ends_in_another_thread(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = Content(ContentCapturingMode.NO_CONTENT, emits=False, hook=None, logger=get_logger("test"))
    telemetry = Telemetry.build(Config(), LiveComponents(), content, tracer_provider=recorder.tracer_provider)
    operation = Operation(
        telemetry, name="chat", provider_id="openai", model="gpt-4o", base_url="http://localhost", request=None
    )
    assert dropped_inside_the_sdk([streaming._Stream(operation)], monkeypatch) == [ENDING]
    assert ended(recorder) == ["abandoned"]


async def test_a_stream_keeps_nothing_alive(instrumented: Recorder) -> None:
    gc.disable()
    try:
        async with provider(events(delta("a"), delta(finish="stop"))) as server:
            ai = await client(base_url=server.base_url)
            builder = ai.chat().user("Hello?")
            received = [event async for event in builder.stream()]
            gone = [weakref.ref(builder), *map(weakref.ref, received)]
            await ai.close()
            del builder, received
            assert [reference() for reference in gone] == [None] * len(gone)
    finally:
        gc.enable()

    assert ended(instrumented) == ["completed"]


# --- the split names the culprit ---


class SlowOperator:
    """A transform that takes its time, and all of everybody's."""

    async def transform(self, frames: AsyncIterator[Any]) -> AsyncIterator[Any]:
        import time

        async for frame in frames:
            time.sleep(0.1)  # noqa: ASYNC251 - it is slow on purpose
            yield frame


@pytest.mark.parametrize("culprit", ["http.transport", "consumer", "pipeline.process"])
async def test_the_split_names_the_culprit_and_adds_up(instrumented: Recorder, culprit: str) -> None:
    frames = [delta("a"), delta("b"), delta("c"), delta(finish="stop")]
    async with provider(events(*frames, delay=0.1 if culprit == "http.transport" else 0.0)) as server:
        ai = await client(base_url=server.base_url)
        if culprit == "pipeline.process":
            ai._pipeline = ai._pipeline.with_transform(SlowOperator())
        async for _ in ai.chat().user("Hello?").stream():
            if culprit == "consumer":
                await asyncio.sleep(0.1)
        await ai.close()

    parts = {
        str(attributes["stage"]): seconds
        for attributes, seconds in instrumented.sums("ai_lib.stage.duration")
        if attributes["stage"] != "protocol.load"
    }
    ((_, parts["consumer"]),) = instrumented.sums("ai_lib.stream.consumer")
    ((_, duration),) = instrumented.sums("ai_lib.request.duration")
    assert sorted(parts) == ["consumer", "event.map", "http.transport", "pipeline.process", "request.compile"]
    assert max(parts, key=lambda name: parts[name]) == culprit
    assert parts[culprit] > 0.4
    assert sum(parts.values()) == pytest.approx(duration, rel=1e-9)
    span = instrumented.span(OPERATION)
    assert ((span.end_time or 0) - (span.start_time or 0)) / 1e9 == pytest.approx(duration, abs=1e-6)
    assert max(child.end_time or 0 for child in instrumented.children(span)) == span.end_time
    busy = {
        str((child.attributes or {})["ai_lib.stage"]): (child.attributes or {})["ai_lib.busy_time"]
        for child in instrumented.children(span)
    }
    assert busy == {name: seconds for name, seconds in parts.items() if name != "consumer"}


async def test_exemplars_of_a_stream_lead_to_its_trace(instrumented: Recorder) -> None:
    async with provider(events(delta("a"), delta(finish="stop"))) as server:
        ai = await client(base_url=server.base_url)
        assert len([event async for event in ai.chat().user("Hello?").stream()]) == 2
        await ai.close()

    trace_id = instrumented.span(OPERATION).context.trace_id
    metrics = instrumented._metrics()
    for name in (
        "ai_lib.request.duration",
        "ai_lib.requests",
        "ai_lib.stream.consumer",
        "gen_ai.client.operation.duration",
    ):
        (point,) = metrics[name].data.data_points
        assert {exemplar.trace_id for exemplar in point.exemplars} == {trace_id}, name
    assert [attributes for attributes, _ in instrumented.points("ai_lib.requests")] == [LABELS]
