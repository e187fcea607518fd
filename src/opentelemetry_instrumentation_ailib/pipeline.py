"""The view of a pipeline through which a stream is timed.

It shows the pipeline's own operators with their outputs timed, so operators that users write are timed too and neither
they nor the pipeline are changed.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable
from time import perf_counter
from typing import Any, Final

from wrapt import ObjectProxy

from opentelemetry_instrumentation_ailib.fields import frame_answer, frame_report
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.stream_state import PIPELINE, TRANSPORT, StreamState

_HTTPCORE = logging.getLogger("httpcore")
_BLANKS: Final = 1024
_CLOSING: Final = ("is already running", "didn't stop after athrow()")


class PipelineView(ObjectProxy):  # type: ignore[type-arg]
    """A pipeline with its decoder and its last transform shown through others that time their frames.

    Args:
        pipeline: The runtime's ``Pipeline``.
        state: Where the stream notes what passes.
    """

    def __init__(self, pipeline: Any, state: StreamState) -> None:
        super().__init__(pipeline)
        decoder, transforms = pipeline._decoder, pipeline._transforms
        state.foreign = _foreign(decoder, pipeline._event_mapper, *transforms)
        self._self_decoder = _Decoder(decoder, state, counts=bool(transforms))
        self._self_transforms = [*transforms[:-1], _Transform(transforms[-1], state)] if transforms else transforms

    @property
    def _decoder(self) -> Any:
        return self._self_decoder

    @property
    def _transforms(self) -> Any:
        return self._self_transforms


def _foreign(*operators: Any) -> bool:
    # The runtime's own neither log nor start spans. What httpcore says of each chunk has its place in a trace.
    known = (operator is None or type(operator).__module__.startswith("ai_lib_python.") for operator in operators)
    return _HTTPCORE.isEnabledFor(logging.DEBUG) or not all(known)


class _Operator:
    """An operator with its method replaced; all else is the operator's."""

    __slots__ = ("_operator", "_state")

    def __init__(self, operator: Any, state: StreamState) -> None:
        self._operator = operator
        self._state = state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operator, name)


class _Decoder(_Operator):
    __slots__ = ("_counts",)

    def __init__(self, decoder: Any, state: StreamState, *, counts: bool) -> None:
        super().__init__(decoder, state)
        self._counts = counts

    def decode(self, body: AsyncIterable[bytes]) -> AsyncIterable[Any]:
        layer = _counted if self._counts else _timed
        return layer(self._operator.decode(body), self._state, self._operator)


class _Transform(_Operator):
    __slots__ = ()

    def transform(self, frames: AsyncIterable[Any]) -> AsyncIterable[Any]:
        return _timed(self._operator.transform(frames), self._state)


async def close(source: Any) -> None:
    """Close what a layer reads from, as the one who closes the layer would.

    Args:
        source: An asynchronous generator, or anything that can be iterated.
    """
    aclose = getattr(source, "aclose", None)
    if aclose is None:
        return
    try:
        await aclose()
    except RuntimeError as error:
        # The event loop may be closing it, or what it reads from. Then it is the one to tell of it.
        if not str(error).endswith(_CLOSING):
            raise


# The layers are asynchronous generators, as the runtime's own are: half as dear as a class with a coroutine.


async def timed_body(body: AsyncIterable[bytes], state: StreamState) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of the body. Time spent in here is spent waiting for the provider.

    Args:
        body: The runtime's own iterator.
        state: Where the stream notes what passes.
    """
    clock, spent, inside, entered = state.clock, 0.0, True, perf_counter()
    try:
        async for chunk in body:
            try:
                state.bytes += len(chunk)
                state.last_chunk = chunk
            except TypeError:
                pass  # A pipeline of the user's own may make objects of the bytes.
            clock.body = spent = spent + (perf_counter() - entered)
            inside = False
            yield chunk
            inside, entered = True, perf_counter()
    except BaseException:
        if inside:  # Else it is closed, by whoever has no more use for it.
            clock.body = spent + (perf_counter() - entered)
            clock.fail(TRANSPORT)
        raise
    clock.body = spent + (perf_counter() - entered)
    state.body_exhausted = True


async def _counted(frames: AsyncIterable[Any], state: StreamState, decoder: Any) -> AsyncGenerator[Any, None]:
    # The decoder's frames, where transforms follow.
    async for frame in frames:
        state.decoded += 1
        if state.decoded == 1:
            _note_first(state, frame)
        try:
            yield frame
        except GeneratorExit:
            await close(frames)
            raise
    _note_end(state, decoder)


async def _timed(frames: AsyncIterable[Any], state: StreamState, decoder: Any = None) -> AsyncGenerator[Any, None]:
    # The frames on their way to the mapper; straight from the decoder, if one is given. Time spent in here is the
    # pipeline's, but for what it waits for the body.
    clock, spent, inside, entered = state.clock, 0.0, True, perf_counter()
    try:
        async for frame in frames:
            if state.events == state.events_before:
                state.unmapped += 1  # The frame before, of which nothing more can come.
            state.offered += 1
            if decoder is not None and state.offered == 1:
                _note_first(state, frame)
            state.events_before = state.events
            clock.frames = spent = spent + (perf_counter() - entered)
            inside = False
            yield frame
            inside, entered = True, perf_counter()
    except BaseException:
        if inside:
            clock.frames = spent + (perf_counter() - entered)
            clock.fail(PIPELINE)
        else:
            await close(frames)
        raise
    clock.frames = spent + (perf_counter() - entered)
    if decoder is not None:
        _note_end(state, decoder)


@guarded
def _note_first(state: StreamState, frame: Any) -> None:
    state.first_frame, state.report = frame_answer(frame), frame_report(frame)


@guarded
def _note_end(state: StreamState, decoder: Any) -> None:
    # A decoder swallows the done signal: it stops before the body does, or the signal is all that the body ends with.
    signal = getattr(decoder, "_done_signal", None)
    if not state.body_exhausted:
        state.finished = True
    elif isinstance(signal, str) and signal and isinstance(state.last_chunk, bytes):
        said = signal.encode()
        # What comes as one chunk may be large, and blanks at its end are few.
        tail = state.last_chunk[-len(said) - _BLANKS :]
        state.finished = state.finished or tail.rstrip().endswith(said)
