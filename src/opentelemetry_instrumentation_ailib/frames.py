"""The records of single frames: how large each was, which rule and path matched it, which events it became.

Like the time of a stream, its frames are seen through a view of the pipeline, and only where the level ``TRACE`` is
enabled when the stream begins; no other stream passes any of this.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Final

from wrapt import ObjectProxy

from opentelemetry_instrumentation_ailib import masking, naming, semconv
from opentelemetry_instrumentation_ailib.frame_rules import Match, matched_rule
from opentelemetry_instrumentation_ailib.frame_text import FrameText, frame_text
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.loggers import FRAME, TRACE, emit, identity, title

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.operation import Operation

_MAX_CONTENT: Final = 1024
_MAX_EVENTS: Final = 64


def traced(pipeline: Any, operation: Operation, *, content: bool) -> Any:
    """Return a view of a pipeline that logs each frame (``TRACE``), or the pipeline itself where nobody listens.

    Args:
        pipeline: The runtime's ``Pipeline``.
        operation: The operation that streams.
        content: Whether message content is captured, which is where a record has the frame itself.
    """
    if not FRAME.isEnabledFor(TRACE):
        return pipeline
    view = _view(pipeline, operation, content)
    return pipeline if view is None else view


@guarded
def _view(pipeline: Any, operation: Operation, content: bool) -> Any:
    decoder, mapper = pipeline._decoder, pipeline._event_mapper
    if mapper is None:
        return None
    frames = _Frames(operation, mapper, content)
    return _View(
        pipeline,
        _decoder=_View(decoder, decode=lambda body: frames.decoded(decoder.decode(body))),
        _event_mapper=_View(mapper, map_events=frames.mapped),
    )


class _View(ObjectProxy):  # type: ignore[type-arg]
    """An object of which some attributes are shown as others. It stays an instance of its class."""

    def __init__(self, wrapped: Any, **shown: Any) -> None:
        super().__init__(wrapped)
        self._self_shown = shown

    def __getattr__(self, name: str) -> Any:
        shown = self._self_shown
        return shown[name] if name in shown else getattr(self.__wrapped__, name)


class _Frames:
    """The frames of one stream, on their way from the decoder to the mapper and past it.

    Args:
        operation: The operation that streams.
        mapper: The runtime's event mapper.
        content: Whether a record has the frame itself.
    """

    def __init__(self, operation: Operation, mapper: Any, content: bool) -> None:
        self._operation = operation
        self._mapper = mapper
        self._content = content
        self._index = -1
        self._offered = 0
        self._pending: list[tuple[int, Any]] = []
        self._events: list[str] = []

    async def decoded(self, frames: AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
        """Yield the decoder's frames; those that a transform kept from the mapper are logged here."""
        async for frame in frames:
            self._index += 1
            offered = self._offered
            yield frame
            if self._offered == offered:
                self._log(self._index, frame, "filtered")

    async def mapped(self, frames: AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
        """Yield the mapper's events; what a frame became is known when the next is asked for, or nothing more is."""
        try:
            async for event in self._mapper.map_events(self._offer(frames)):
                self._note(event)
                yield event
        finally:
            self._flush()

    async def _offer(self, frames: AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
        async for frame in frames:
            self._offered += 1
            self._pending, self._events = [(self._index, frame)], []
            yield frame
            self._flush()

    @guarded
    def _note(self, event: Any) -> None:
        if len(self._events) < _MAX_EVENTS:
            self._events.append(naming.text(getattr(event, "event_type", None)) or semconv.OTHER)

    def _flush(self) -> None:
        if self._pending:
            self._log(*self._pending.pop(), "mapped" if self._events else "unmapped")

    @guarded
    def _log(self, index: int, frame: Any, result: str) -> None:
        if not FRAME.isEnabledFor(TRACE):
            return
        operation, filtered = self._operation, result == "filtered"
        match = None if filtered else matched_rule(self._mapper, frame, self._events)
        written = frame_text(frame)
        shown = _presentable(written, operation.secrets) if self._content else None
        fields = {
            **identity(operation),
            semconv.FRAME_INDEX: index,
            semconv.FRAME_SIZE: written.size,
            semconv.FRAME_RESULT: result,
            semconv.FRAME_RULE: match and match.rule,
            semconv.FRAME_PATH: match and match.path,
            semconv.FRAME_EVENTS: tuple(self._events) if result == "mapped" else None,
            semconv.FRAME_CONTENT: shown,
        }
        what = result if filtered else _became(match, self._events)
        arguments = title(operation), index, written.size, what, f": {shown}" if shown else ""
        emit(FRAME, TRACE, operation.context, fields, "%s: frame %d, %d bytes, %s%s", *arguments)


def _became(match: Match | None, events: Collection[str]) -> str:
    rule = "no known rule" if match is None else match.rule
    at = f" at {match.path}" if match is not None and match.path else ""
    return f"{rule}{at} -> {', '.join(events) or 'no event'}"


def _presentable(written: FrameText, secrets: Iterable[str]) -> str:
    text, known = written.beginning, masking.forms(*secrets)
    if not written.whole:
        # What ends it may be the beginning of a secret.
        text = masking.redacted(text, known)[: -max(map(len, known), default=1)]
    return masking.masked(masking.beginning(text, known, 4 * _MAX_CONTENT), _MAX_CONTENT)
