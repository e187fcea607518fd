"""Streams: the iterator that a streamed call hands back."""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextvars import Token
from time import perf_counter
from types import FrameType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from opentelemetry_instrumentation_ailib.guard import detach, guarded
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.stream_end import end_stream
from opentelemetry_instrumentation_ailib.stream_messages import StreamMessages
from opentelemetry_instrumentation_ailib.stream_state import NOTES, StageClock, StreamState

_NOWHERE = Context()
# What ends a stream goes through: the SDK, the handlers of logs and the queues that these use.
_LOCKING = ("opentelemetry.sdk", "logging", "queue")


class _Switch:
    """A context variable in place of OpenTelemetry's own, for a runtime context that is none."""

    set = staticmethod(otel_context.attach)
    reset = staticmethod(otel_context.detach)


def _switch() -> Any:
    # With every chunk the context is entered and left. By way of OpenTelemetry's functions that costs twice as much.
    token = otel_context.attach(_NOWHERE)
    otel_context.detach(token)
    return token.var if isinstance(token, Token) else _Switch


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
        except Exception:  # noqa: S110 - an event of the user's own making may be anything
            pass
        if state.attentive or state.events == 1:
            _note_chunk(self._operation, state, event)  # type: ignore[arg-type]
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
        if _inside_locks():
            # The garbage collector called from where this thread holds locks that it would ask for again.
            threading.Thread(target=self._close, name="ai-lib-stream-end", daemon=True).start()
        else:
            self._close()

    def _open(self) -> StreamState | None:
        begin, self._begin = self._begin, None
        operation = self._operation = None if begin is None else begin()
        if operation is not None:
            chunk_timing, wanted = operation.telemetry.config.chunk_timing, operation.telemetry.content.wanted
            self._context, self._switch = operation.context, _switch()
            started = operation.began.seconds
            self._state = operation.stream = StreamState(
                StageClock(started),
                chunk_timing,
                attentive=chunk_timing or wanted,
                messages=StreamMessages() if wanted else None,
                chunk_arrived=started,
            )
        return self._state

    def _close(self, error: BaseException | None = None, *, exhausted: bool = False) -> None:
        operation, self._operation = self._operation, None
        state, self._state = self._state, None
        self._context = _NOWHERE  # The operation's context refers to the operation.
        if operation is not None and state is not None:
            end_stream(operation, state, error, exhausted=exhausted)
            operation.end()  # Does nothing, unless a fault of ours kept the line above from it.
            state.exchange = None  # It refers to the operation, which refers to this.


@guarded
def _note_chunk(operation: Operation, state: StreamState, event: Any) -> None:
    if state.messages is not None:
        state.messages.note(event)
    if not state.chunk_timing and state.events > 1:
        return
    # The first counts from the request, each other from the one before.
    arrived = perf_counter()
    seconds, state.chunk_arrived = arrived - state.chunk_arrived, arrived
    instruments = operation.telemetry.instruments
    if state.events == 1:
        state.time_to_first_chunk = seconds
        instruments.time_to_first_chunk.record(seconds, operation.identity, context=operation.context)
    else:
        instruments.time_per_output_chunk.record(seconds, operation.identity, context=operation.context)


def _inside_locks() -> bool:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(_LOCKING):
            return True
        frame = frame.f_back
    return False
