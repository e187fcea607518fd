"""Streams: the iterator that a streamed call hands back, and how a stream ends."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextvars import Token
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.exchange import end_exchange
from opentelemetry_instrumentation_ailib.fields import Usage
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.stream_state import (
    COMPILE,
    CONSUMER,
    MAP,
    NOTES,
    STAGE_OF,
    StageClock,
    StreamState,
)
from opentelemetry_instrumentation_ailib.telemetry import detach, guarded

_logger = logging.getLogger("ai_lib.stream")

_NOWHERE = Context()


class _Switch:
    """What a context variable does, through OpenTelemetry's functions: for a runtime context that is no such variable."""

    set = staticmethod(otel_context.attach)
    reset = staticmethod(otel_context.detach)


def _switch() -> Any:
    # With every chunk the context is entered and left. By way of OpenTelemetry's functions that costs twice as much.
    token = otel_context.attach(_NOWHERE)
    otel_context.detach(token)
    return token.var if isinstance(token, Token) else _Switch


@dataclass(frozen=True)
class StreamSummary:
    """What the response hook gets for a stream, which has no response object.

    Attributes:
        outcome: ``completed``, ``abandoned``, ``cancelled``, ``error``, ``truncated`` or ``empty``.
        finish_reasons: One per choice that reported one.
        usage: Token counts, as far as the provider reported them.
        bytes: Bytes of the body received.
        frames: Frames decoded.
        events: Events handed to the caller.
    """

    outcome: str
    finish_reasons: tuple[str, ...]
    usage: Usage
    bytes: int
    frames: int
    events: int


class EventStream(AsyncGenerator[Any, None]):
    """The events of one streamed call, unchanged, with the operation around them.

    Nothing is opened before the first ``__anext__``, which is when the runtime sends the request. The operation's
    context is attached around each step and never while the caller holds the stream.

    Args:
        events: The runtime's own iterator.
        begin: Opens the operation; ``None`` from it leaves the stream alone.
    """

    def __init__(self, events: AsyncGenerator[Any, None], begin: Callable[[], Operation | None]) -> None:
        self._events = events
        self._next = events.__anext__
        self._begin: Callable[[], Operation | None] | None = begin
        self._operation: Operation | None = None
        self._state: StreamState | None = None
        self._context = _NOWHERE
        self._switch: Any = _Switch

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Any:
        state = self._state or self._open()
        if state is None:
            return await self._next()
        clock = state.clock
        if state.events:
            now = perf_counter()
            clock.consumer += now - clock.last
            clock.last = now
        token = self._switch.set(self._context)
        try:
            event = await self._next()
        except BaseException as error:
            detach(token, error)
            exhausted = isinstance(error, StopAsyncIteration)
            self._close(None if exhausted else error, exhausted=exhausted)
            raise
        self._switch.reset(token)
        state.events += 1
        try:
            note = NOTES.get(event.event_type)
            if note is not None:
                note(state, event.data)
        except (AttributeError, TypeError):
            pass  # An event of the user's own making.
        if state.chunk_timing or state.events == 1:
            _record_chunk(self._operation)  # type: ignore[arg-type]
        now = perf_counter()
        clock.map += now - clock.last
        clock.last = now
        return event

    async def asend(self, value: Any) -> Any:
        """Send a value to the runtime's iterator, which expects none."""
        return await (self.__anext__() if value is None else self._events.asend(value))

    async def athrow(self, *exception: Any) -> Any:
        """Throw an exception into the runtime's iterator."""
        return await self._events.athrow(*exception)

    async def aclose(self) -> None:
        """End the operation and close the runtime's iterator."""
        self._begin = None
        self._close()
        await self._events.aclose()

    def __del__(self) -> None:
        if self._operation is None:
            return
        if _inside_sdk():
            # The garbage collector called from within the SDK, whose locks must not be asked for again by this thread.
            threading.Thread(target=self._close, name="ai-lib-stream-end", daemon=True).start()
        else:
            self._close()

    def _open(self) -> StreamState | None:
        begin, self._begin = self._begin, None
        operation = self._operation = None if begin is None else begin()
        if operation is not None:
            chunk_timing = operation.telemetry.config.chunk_timing
            self._context, self._switch = operation.context, _switch()
            self._state = operation.stream = StreamState(StageClock(operation.began.seconds), chunk_timing)
        return self._state

    def _close(self, error: BaseException | None = None, *, exhausted: bool = False) -> None:
        operation, self._operation = self._operation, None
        state, self._state = self._state, None
        self._context = _NOWHERE  # The operation's context refers to the operation.
        if operation is not None and state is not None:
            _finish(operation, state, error, exhausted)
            operation.end()  # Does nothing, unless a fault of ours kept the line above from it.
            state.exchange = None  # It refers to the operation, which refers to this.


_record_chunk = guarded(Operation.record_chunk)
_record_stage = guarded(Operation.record_stage)


def _inside_sdk() -> bool:
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("opentelemetry.sdk"):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


@guarded
def _finish(operation: Operation, state: StreamState, error: BaseException | None, exhausted: bool) -> None:
    clock = state.clock
    # Where nobody lower down saw an exception, the mapper raised it, or what compiles the request.
    failed = clock.failed or (MAP if state.sending else COMPILE)
    if error is not None:
        clock.give(failed)
    else:
        clock.give(MAP if exhausted else CONSUMER)
    outcome = state.outcome(error, exhausted=exhausted)
    failure: BaseException | str | None = error
    if outcome == semconv.ERROR and error is None:
        failure, failed = semconv.STREAM_ERROR, MAP
    operation.stage = STAGE_OF[failed]
    kind = semconv.failure_type(failure)
    _record_stages(operation, state, {operation.stage: kind})
    _record_stream(operation, state, outcome)
    answer = state.answer()
    operation.end(
        answer=answer,
        response=StreamSummary(outcome, answer.finish_reasons, answer.usage, state.bytes, state.frames, state.events),
        error=failure,
        duration=clock.total(),
    )
    if outcome == semconv.EMPTY:
        _warn_empty(operation, state)


@guarded
def _record_stages(operation: Operation, state: StreamState, failed: dict[str, str | None]) -> None:
    clock = state.clock
    _record_stage(
        operation,
        semconv.REQUEST_COMPILE,
        operation.began,
        busy=clock.compile,
        end_time=operation.began.epoch + int(clock.compile * 1e9),
        error=failed.get(semconv.REQUEST_COMPILE),
    )
    if state.exchange is not None:
        operation.record_stage_duration(semconv.HTTP_TRANSPORT, clock.transport)
        end_exchange(state.exchange, failed.get(semconv.HTTP_TRANSPORT), busy=clock.transport)
    if state.processing_began is None:
        return
    pipeline: dict[str, AttributeValue] = {semconv.STREAM_BYTES: state.bytes, semconv.STREAM_FRAMES: state.frames}
    for stage, busy, counts in (
        (semconv.PIPELINE_PROCESS, clock.pipeline, pipeline),
        (semconv.EVENT_MAP, clock.map, {semconv.STREAM_EVENTS: state.events}),
    ):
        _record_stage(
            operation, stage, state.processing_began, busy=busy, error=failed.get(stage), attributes=counts
        )


@guarded
def _record_stream(operation: Operation, state: StreamState, outcome: str) -> None:
    instruments, context = operation.telemetry.instruments, operation.context
    labels = {key: operation.labels[key] for key in (semconv.LABEL_PROVIDER, semconv.LABEL_MODEL)}
    instruments.stream_consumer.record(state.clock.consumer, labels, context=context)
    instruments.streams.add(1, {**labels, semconv.LABEL_OUTCOME: outcome}, context=context)
    # The last frame counts as unmapped if the stream ended before it brought an event.
    unmapped = state.unmapped + int(state.offered > 0 and state.events == state.events_before)
    frames = (
        ("mapped", state.offered - unmapped),
        ("unmapped", unmapped),
        ("filtered", state.frames - state.offered),
    )
    for result, count in frames:
        if count > 0:
            instruments.stream_frames.add(count, {**labels, semconv.LABEL_RESULT: result}, context=context)
    operation.attributes.update(
        {
            semconv.STREAM_OUTCOME: outcome,
            semconv.STREAM_BYTES: state.bytes,
            semconv.STREAM_FRAMES: state.frames,
            semconv.STREAM_EVENTS: state.events,
        }
    )


def _warn_empty(operation: Operation, state: StreamState) -> None:
    labels = operation.labels
    _logger.warning(
        "The stream of %s/%s brought %d bytes in %d frames and not one event: its manifest maps none of its frames",
        labels[semconv.LABEL_PROVIDER],
        labels[semconv.LABEL_MODEL],
        state.bytes,
        state.frames,
        extra={
            semconv.PROVIDER_ID: labels[semconv.LABEL_PROVIDER],
            semconv.STREAM_OUTCOME: semconv.EMPTY,
            semconv.STREAM_BYTES: state.bytes,
            semconv.STREAM_FRAMES: state.frames,
        },
    )
