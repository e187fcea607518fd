"""Streams: the generator that a streamed call hands back."""

from __future__ import annotations

import sys
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from time import perf_counter
from typing import Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from opentelemetry_instrumentation_ailib.collected import call_unlocked, unlocked
from opentelemetry_instrumentation_ailib.context import NOWHERE, attach, detach
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.pipeline import close
from opentelemetry_instrumentation_ailib.stream_end import end_stream
from opentelemetry_instrumentation_ailib.stream_messages import StreamMessages
from opentelemetry_instrumentation_ailib.stream_state import NOTES, StageClock, StreamState


async def observed(  # noqa: C901 - with every chunk, a function more would be felt
    events: AsyncIterable[Any], begin: Callable[..., Operation | None], call: tuple[Any, ...]
) -> AsyncGenerator[Any, None]:
    """Yield the events of one streamed call, unchanged, with the operation around them.

    It is an asynchronous generator, as the runtime's own is. Nothing is opened before the first event is asked for,
    which is when the runtime sends the request. The operation's context is attached around each step but those in which
    nothing runs that could look for it, and never while the caller holds the stream.

    Args:
        events: The runtime's own iterator.
        begin: Opens the operation; ``None`` from it leaves the stream alone.
        call: What it gets.
    """
    events = aiter(events)  # What another library put around the runtime's may be no more than iterable.
    operation = begin(*call) if is_instrumentation_enabled() else None
    del begin, call  # Which an open stream would keep.
    if operation is None:
        try:
            async for event in events:
                yield event
        except GeneratorExit:
            await close(events)
            raise
        return
    stream, context = _Stream(operation), operation.context
    state, step = stream.state, events.__anext__
    # A garbage collection takes away references that call back before it finalizes anything.
    wanted = weakref.ref(stream, _unwanted)
    heard = attentive = operation.heard
    clock, foreign, count, consumer = state.clock, True, 0, 0.0
    del operation
    while True:
        token = attach(context) if foreign else None
        try:
            event = await step()
        except BaseException as error:
            if token is not None:
                detach(token, error)
            context, token = NOWHERE, None  # They refer to the operation and its caller's, and the exception to this.
            if isinstance(error, StopAsyncIteration):
                stream.close(exhausted=True)
                return
            stream.close(error)
            raise
        if token is not None:
            detach(token)
        state.events = count = count + 1
        try:
            note = NOTES.get(event.event_type)
            if note is not None:
                note(state, event.data)
        except Exception:  # noqa: S110 - an event of the user's own making may be anything
            pass
        if attentive:
            _note_chunk(stream, event)
            attentive, foreign = state.attentive, state.foreign  # For all chunks, or for the first alone.
        if heard:
            clock.last = left = perf_counter()
        try:
            yield event
        except BaseException:
            # The caller leaves, or throws something in, at which the runtime's generators end, too.
            stream.close()
            if wanted() is not None:
                await close(events)
            # Else a garbage collection found all of it, perhaps in another thread, and is about to finalize the
            # runtime's generator too: by force, if we were closing it by then. The event loop closes that one as well.
            del events, step
            raise
        if heard:
            clock.consumer = consumer = consumer + (perf_counter() - left)


def _unwanted(_: weakref.ref[_Stream]) -> None:
    """Do nothing."""


class _Stream:
    """An open operation that ends with the generator, which may be dropped and never closed.

    Args:
        operation: The operation.
    """

    def __init__(self, operation: Operation) -> None:
        chunk_timing = operation.heard and operation.telemetry.config.chunk_timing
        started, wanted = operation.began.seconds, operation.telemetry.content.wanted
        self.operation: Operation | None = operation
        self.state = operation.stream = StreamState(
            StageClock(started),
            chunk_timing,
            attentive=chunk_timing or wanted,
            foreign=operation.heard,
            messages=StreamMessages() if wanted else None,
            chunk_arrived=started,
        )

    def __del__(self) -> None:
        # When the interpreter ends, nobody collects any more.
        if self.operation is not None and not sys.is_finalizing():
            call_unlocked(self.close)

    def close(self, error: BaseException | None = None, *, exhausted: bool = False) -> None:
        """End the operation, once.

        Args:
            error: The exception that ended the stream, if one did.
            exhausted: Whether it was read to its end.
        """
        operation, self.operation = self.operation, None
        if operation is not None:
            _end(operation, self.state, perf_counter(), error, exhausted=exhausted)


@unlocked
def _end(
    operation: Operation, state: StreamState, ended: float, error: BaseException | None, *, exhausted: bool
) -> None:
    end_stream(operation, state, ended, error, exhausted=exhausted)
    if not operation.ended:  # For a fault of ours.
        operation.end()
    state.exchange = None  # It refers to the operation, which refers to this.


@guarded
def _note_chunk(stream: _Stream, event: Any) -> None:
    operation, state = stream.operation, stream.state
    if state.messages is not None:
        state.messages.note(event)
    if operation is None or (not state.chunk_timing and state.events > 1):
        return
    # The first counts from the request, each other from the one before.
    arrived = perf_counter()
    seconds, state.chunk_arrived = max(arrived - state.chunk_arrived, 0.0), arrived
    instruments = operation.telemetry.instruments
    if state.events == 1:
        state.time_to_first_chunk = seconds
        instruments.time_to_first_chunk.record(seconds, operation.asked.conventions, context=operation.measured)
    else:
        instruments.time_per_output_chunk.record(seconds, operation.asked.conventions, context=operation.measured)
