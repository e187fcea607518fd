"""What is said in a streamed answer, as the messages that the GenAI conventions define.

Pieces are kept as they pass, up to a bound, and put together once at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.util.genai.types import MessagePart, OutputMessage, ReasoningPart, TextPart, ToolCallRequestPart

from opentelemetry_instrumentation_ailib import parts
from opentelemetry_instrumentation_ailib.messages import finish_reason, output_message
from opentelemetry_instrumentation_ailib.parts import DIRECTION_CHARACTERS, Truncated, string
from opentelemetry_instrumentation_ailib.shortened import shortened

# More would be kept for nothing.
_KEPT_CHARACTERS: Final = 2 * DIRECTION_CHARACTERS
_MAX_SEGMENTS: Final = 256


@dataclass(slots=True)
class _Segment:
    """What will be a part: the pieces of a text, of a reasoning or of the arguments of a tool call."""

    build: Callable[[_Segment, str], MessagePart]
    pieces: list[str] = field(default_factory=list)
    left_out: int = 0
    name: str = ""
    id: str | None = None
    index: Any = None
    kept: bool = True

    def part(self) -> MessagePart:
        text = "".join(self.pieces)
        if self.left_out:
            text = Truncated(text)
            text.left_out = self.left_out
        return self.build(self, text)


def _text(_: _Segment, text: str) -> MessagePart:
    return TextPart(content=text)


def _reasoning(_: _Segment, text: str) -> MessagePart:
    return ReasoningPart(content=text)


def _tool_call(call: _Segment, arguments: str) -> MessagePart:
    said = parts.parsed(arguments) if arguments or call.left_out else None
    return ToolCallRequestPart(arguments=said, name=call.name, id=call.id)


@dataclass(slots=True)
class _Candidate:
    """What an answer is made of: the segments that are kept, how many others there were, and the last of either."""

    segments: list[_Segment] = field(default_factory=list)
    left_out: int = 0
    last: _Segment | None = None

    def message(self, reason: str | None) -> OutputMessage:
        return output_message(shortened((each.part() for each in self.segments), self.left_out), finish_reason(reason))


class StreamMessages:
    """The messages of a streamed answer: their pieces as they pass, put together once at the end."""

    __slots__ = ("_calls", "_candidates", "_left", "_segments")

    def __init__(self) -> None:
        self._left = _KEPT_CHARACTERS
        self._segments = 0
        self._candidates: dict[int, _Candidate] = {}
        self._calls: dict[tuple[int, Any], _Segment] = {}

    def note(self, event: Any) -> None:
        """Keep what an event says, as long as there is room. It costs a microsecond and never raises."""
        try:
            keep = _EVENTS.get(event.event_type)
            if keep is not None:
                data = event.data
                # The runtime's events have no such member, those of an operator or a mapper of the user's own may.
                extra = getattr(data, "__pydantic_extra__", None)
                candidate = extra.get("candidate_index", 0) if extra else 0
                keep(self, candidate if isinstance(candidate, int) else 0, data)
        except Exception:  # noqa: S110 - an event of the user's own making may be anything
            pass

    def messages(self, finish_reasons: Mapping[int, str] | Sequence[str] = ()) -> list[OutputMessage]:
        """Return the messages, one per candidate that said something or has a finish reason.

        Args:
            finish_reasons: By the index of the candidate.
        """
        reasons = dict(finish_reasons if isinstance(finish_reasons, Mapping) else enumerate(finish_reasons))
        return [
            self._candidates.get(index, _Candidate()).message(reasons.get(index))
            for index in sorted({*self._candidates, *reasons})
        ]

    def _content(self, candidate: int, data: Any) -> None:
        self._delta(candidate, _text, string(data.content))

    def _thinking(self, candidate: int, data: Any) -> None:
        self._delta(candidate, _reasoning, string(data.thinking))

    def _delta(self, candidate: int, build: Callable[[_Segment, str], MessagePart], piece: str | None) -> None:
        if piece is None:
            return
        known = self._candidates.get(candidate)
        last = known.last if known is not None else None
        self._keep(last if last is not None and last.build is build else self._open(candidate, build), piece)

    def _call_started(self, candidate: int, data: Any) -> None:
        call = self._call(candidate, data, started=True)
        if call is not None:
            call.name = string(data.tool_name) or ""

    def _call_arguments(self, candidate: int, data: Any) -> None:
        self._keep(self._call(candidate, data), string(data.arguments))

    def _call(self, candidate: int, data: Any, *, started: bool = False) -> _Segment | None:
        # By its id; by its index where it has none.
        identity, place = string(data.tool_call_id), (candidate, data.index)
        key = place if identity is None else (candidate, identity)
        call = None if started and not identity else self._calls.get(key)
        if call is not None and call.index != data.index and None not in (call.index, data.index):
            # One id for two calls.
            call = self._calls.get(place)
            call = call if call is not None and call.id == identity else None
        # By id and by index, some of those that are only counted included.
        full = len(self._calls) >= 4 * _MAX_SEGMENTS
        if call is None and (started or not full) and (call := self._open(candidate, _tool_call)) is not None:
            call.id, call.index = identity, data.index
            if not full:
                self._calls[key] = self._calls[place] = call
        return call

    def _open(self, candidate: int, build: Callable[[_Segment, str], MessagePart]) -> _Segment | None:
        if candidate not in self._candidates and len(self._candidates) == _MAX_SEGMENTS:
            return None
        known = self._candidates.setdefault(candidate, _Candidate())
        known.last = segment = _Segment(build, kept=self._segments < _MAX_SEGMENTS)
        if segment.kept:
            self._segments += 1
            known.segments.append(segment)
        else:
            known.left_out += 1
        return segment

    def _keep(self, segment: _Segment | None, piece: str | None) -> None:
        if segment is None or piece is None or not segment.kept:
            return
        size = len(piece)
        if size > self._left:
            segment.left_out += size - self._left
            piece, size = piece[: self._left], self._left
        if size:
            segment.pieces.append(piece)
            self._left -= size


_EVENTS: Final[dict[str, Callable[[StreamMessages, int, Any], None]]] = {
    "PartialContentDelta": StreamMessages._content,
    "ThinkingDelta": StreamMessages._thinking,
    "ToolCallStarted": StreamMessages._call_started,
    "PartialToolCall": StreamMessages._call_arguments,
}
