"""Streams: the iterator that a streamed call hands back, and how a stream ends."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import attach
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.fields import Usage
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.stream_state import (
    COMPILE,
    CONSUMER,
    MAP,
    NOTES,
    PIPELINE,
    STAGE_OF,
    TRANSPORT,
    StageClock,
    StreamState,
)
from opentelemetry_instrumentation_ailib.telemetry import detach, guarded

_logger = logging.getLogger("ai_lib.stream")

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


class EventStream:
    """The events of one streamed call, unchanged, with the operation around them.

    Nothing is opened before the first ``__anext__``, which is when the runtime sends the request. The operation's
    context is attached around each step and never while the caller holds the stream.

    Args:
        events: The runtime's own iterator.
        begin: Opens the operation; ``None`` from it leaves the stream alone.
    """

    def __init__(self, events: AsyncIterator[Any], begin: Callable[[], Operation | None]) -> None:
        self._events = events
        self._next = events.__anext__
        self._begin: Callable[[], Operation | None] | None = begin
        self._operation: Operation | None = None
        self._state: StreamState | None = None

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Any:
        if self._begin is not None:
            self._open(self._begin)
        operation, state = self._operation, self._state
        if operation is None or state is None:
            return await self._next()
        clock = state.clock
        if state.events:
            clock.switch(MAP)
        token = attach(operation.context)
        try:
            event = await self._next()
        except BaseException as error:
            detach(token, error)
            if isinstance(error, StopAsyncIteration):
                self._close(exhausted=True)
            else:
                self._close(error)
            raise
        detach(token)
        state.events += 1
        if state.last_mapped != state.offered:
            state.last_mapped = state.offered
            state.mapped += 1
        try:
            note = NOTES.get(event.event_type)
        except (AttributeError, TypeError):
            note = None  # An event of the user's own making.
        if note is not None:
            note(state, event.data)
        if state.chunk_timing or state.events == 1:
            _record_chunk(operation)
        clock.switch(CONSUMER)
        return event

    async def aclose(self) -> None:
        """Close the runtime's iterator and end the operation."""
        self._begin = None
        self._close()
        close = getattr(self._events, "aclose", None)
        if close is not None:
            await close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._events, name)

    def __del__(self) -> None:
        if self._operation is None:
            return
        if _inside_sdk():
            # The garbage collector called from within the SDK, whose locks must not be asked for again by this thread.
            threading.Thread(target=self._close, name="ai-lib-stream-end", daemon=True).start()
        else:
            self._close()

    def _open(self, begin: Callable[[], Operation | None]) -> None:
        self._begin = None
        self._operation = operation = begin()
        if operation is not None:
            config = operation.telemetry.config
            self._state = operation.stream = StreamState(StageClock(operation.began.seconds), config.chunk_timing)

    def _close(self, error: BaseException | None = None, *, exhausted: bool = False) -> None:
        operation, self._operation = self._operation, None
        state, self._state = self._state, None
        if operation is not None and state is not None:
            _finish(operation, state, error, exhausted)
            operation.end()  # Does nothing, unless a fault of ours kept the line above from it.


_record_chunk = guarded(Operation.record_chunk)


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
    hand = clock.hand
    clock.switch(CONSUMER)
    outcome = state.outcome(error, exhausted=exhausted)
    failure: BaseException | str | None = error
    if outcome == semconv.ERROR and error is None:
        failure, hand = semconv.STREAM_ERROR, MAP
    operation.stage = STAGE_OF[hand]
    kind = semconv.failure_type(failure)
    _record_stages(operation, state, {operation.stage: kind})
    _record_stream(operation, state, outcome)
    answer = state.answer()
    operation.end(
        answer=answer,
        response=StreamSummary(outcome, answer.finish_reasons, answer.usage, state.bytes, state.decoded, state.events),
        error=failure,
        duration=sum(clock.busy),
    )
    if outcome == semconv.EMPTY:
        _warn_empty(operation, state)


def _record_stages(operation: Operation, state: StreamState, failed: dict[str, str | None]) -> None:
    busy = state.clock.busy
    operation.record_stage(
        semconv.REQUEST_COMPILE,
        operation.began,
        busy=busy[COMPILE],
        end_time=operation.began.epoch + int(busy[COMPILE] * 1e9),
        error=failed.get(semconv.REQUEST_COMPILE),
    )
    if state.exchange is not None:
        operation.record_stage_duration(semconv.HTTP_TRANSPORT, busy[TRANSPORT])
        state.exchange.end(failed.get(semconv.HTTP_TRANSPORT), busy=busy[TRANSPORT])
    if state.processing_began is None:
        return
    pipeline: dict[str, AttributeValue] = {semconv.STREAM_BYTES: state.bytes, semconv.STREAM_FRAMES: state.decoded}
    for stage, hand, counts in (
        (semconv.PIPELINE_PROCESS, PIPELINE, pipeline),
        (semconv.EVENT_MAP, MAP, {semconv.STREAM_EVENTS: state.events}),
    ):
        operation.record_stage(
            stage, state.processing_began, busy=busy[hand], error=failed.get(stage), attributes=counts
        )


def _record_stream(operation: Operation, state: StreamState, outcome: str) -> None:
    instruments, context = operation.telemetry.instruments, operation.context
    labels = {key: operation.labels[key] for key in (semconv.LABEL_PROVIDER, semconv.LABEL_MODEL)}
    instruments.stream_consumer.record(state.clock.busy[CONSUMER], labels, context=context)
    instruments.streams.add(1, {**labels, semconv.LABEL_OUTCOME: outcome}, context=context)
    frames = (
        ("mapped", state.mapped),
        ("unmapped", state.offered - state.mapped),
        ("filtered", state.decoded - state.offered),
    )
    for result, count in frames:
        if count > 0:
            instruments.stream_frames.add(count, {**labels, semconv.LABEL_RESULT: result}, context=context)
    operation.attributes.update(
        {
            semconv.STREAM_OUTCOME: outcome,
            semconv.STREAM_BYTES: state.bytes,
            semconv.STREAM_FRAMES: state.decoded,
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
        state.decoded,
        extra={
            semconv.PROVIDER_ID: labels[semconv.LABEL_PROVIDER],
            semconv.STREAM_OUTCOME: semconv.EMPTY,
            semconv.STREAM_BYTES: state.bytes,
            semconv.STREAM_FRAMES: state.decoded,
        },
    )
