"""The view of a pipeline through which a stream is timed.

It shows the pipeline's own operators with their outputs timed, so operators that users write are timed too and neither
they nor the pipeline are changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from wrapt import ObjectProxy

from opentelemetry_instrumentation_ailib.fields import frame_answer
from opentelemetry_instrumentation_ailib.stream_state import MAP, PIPELINE, TRANSPORT, StreamState
from opentelemetry_instrumentation_ailib.telemetry import guarded


class PipelineView(ObjectProxy):  # type: ignore[misc]
    """A pipeline with its decoder and its last transform shown through others that time their frames.

    Args:
        pipeline: The runtime's ``Pipeline``.
        state: Where the stream notes what passes.
    """

    def __init__(self, pipeline: Any, state: StreamState) -> None:
        super().__init__(pipeline)
        decoder, transforms = pipeline._decoder, list(pipeline._transforms)
        only = not transforms

        def decode(body: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            return _Frames(decoder.decode(body), state, decoder=decoder, to_mapper=only)

        self._self_decoder = _Operator(decoder, decode=decode)
        if transforms:
            last = transforms[-1]

            def transform(frames: AsyncIterator[Any]) -> AsyncIterator[Any]:
                return _Frames(last.transform(frames), state, to_mapper=True)

            transforms[-1] = _Operator(last, transform=transform)
        self._self_transforms = transforms

    @property
    def _decoder(self) -> Any:
        return self._self_decoder

    @property
    def _transforms(self) -> Any:
        return self._self_transforms


class _Operator:
    """An operator with a method replaced; all else is the operator's."""

    def __init__(self, operator: Any, **methods: Any) -> None:
        self._operator = operator
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operator, name)


class _Layer:
    """An asynchronous iterator around another; all else is the other's."""

    def __init__(self, source: AsyncIterator[Any], state: StreamState) -> None:
        self._source = source
        self._next = source.__aiter__().__anext__
        self._state = state
        self._clock = state.clock

    def __aiter__(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


class Body(_Layer):
    """The bytes of the body. Time spent in here is spent waiting for the provider.

    An exception leaves the hand of the clock where it stands: that is how the failing stage is known.
    """

    async def __anext__(self) -> Any:
        clock, state = self._clock, self._state
        clock.switch(TRANSPORT)
        try:
            chunk = await self._next()
        except StopAsyncIteration:
            clock.switch(PIPELINE)
            state.body_exhausted = True
            raise
        clock.switch(PIPELINE)
        state.bytes += len(chunk)
        state.last_chunk = chunk
        return chunk


class _Frames(_Layer):
    """The frames that an operator makes: the decoder, or the last one before the mapper, or both in one."""

    def __init__(
        self, source: AsyncIterator[Any], state: StreamState, *, decoder: Any = None, to_mapper: bool = False
    ) -> None:
        super().__init__(source, state)
        self._decoder = decoder
        self._to_mapper = to_mapper

    async def __anext__(self) -> Any:
        state = self._state
        if self._to_mapper:
            self._clock.switch(PIPELINE)
        try:
            frame = await self._next()
        except StopAsyncIteration:
            if self._decoder is not None:
                _note_end(state, self._decoder)
            if self._to_mapper:
                self._clock.switch(MAP)
            raise
        if self._decoder is not None:
            state.decoded += 1
            if state.decoded == 1:
                _note_first(state, frame)
        if self._to_mapper:
            state.offered += 1
            self._clock.switch(MAP)
        return frame


@guarded
def _note_first(state: StreamState, frame: Any) -> None:
    state.first_frame = frame_answer(frame)


@guarded
def _note_end(state: StreamState, decoder: Any) -> None:
    # A decoder swallows the done signal: it stops before the body does, or the signal is all that the body ends with.
    signal = getattr(decoder, "_done_signal", None)
    if not state.body_exhausted:
        state.finished = True
    elif isinstance(signal, str) and signal:
        state.finished = state.finished or state.last_chunk.rstrip().endswith(signal.encode())
