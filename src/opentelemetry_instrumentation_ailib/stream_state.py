"""What is noted about a stream as it passes, and the split of its time.

The wall time of a stream belongs to exactly one party at any moment, so the parts add up to the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from opentelemetry_instrumentation_ailib import naming, semconv
from opentelemetry_instrumentation_ailib.fields import Answer
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.usage import Report, reported

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.exchange import Exchange
    from opentelemetry_instrumentation_ailib.stream_messages import StreamMessages

# The parties among which the time of a stream is split, as the attributes of StageClock.
COMPILE: Final = "compile"
TRANSPORT: Final = "transport"
PIPELINE: Final = "pipeline"
MAP: Final = "map"

STAGE_OF: Final = {
    COMPILE: semconv.REQUEST_COMPILE,
    TRANSPORT: semconv.HTTP_TRANSPORT,
    PIPELINE: semconv.PIPELINE_PROCESS,
    MAP: semconv.EVENT_MAP,
}

# Whose finish reasons are noted.
_MAX_CANDIDATES: Final = 64


class StageClock:
    """Exclusive time per party, in seconds.

    What passes with every chunk notes as little as it can: how long its side of the stream has had control in all, what
    lies further inside included. The parties' own times are the differences, so that they add up to the whole.

    Args:
        started: When the stream began (``perf_counter`` seconds).

    Attributes:
        started: When it began.
        last: When control last came to the caller, or the stream ended.
        compile: Until the request was sent.
        exchange: From there to the headers of the response, and to close it.
        body: Inside of the body: waiting for the provider.
        frames: Inside of the pipeline, the body included.
        consumer: With the caller.
        failed: The party in which an exception was first seen.
    """

    __slots__ = ("body", "compile", "consumer", "exchange", "failed", "frames", "last", "started")

    def __init__(self, started: float) -> None:
        self.compile = self.exchange = self.body = self.frames = self.consumer = 0.0
        self.started = self.last = started
        self.failed: str | None = None

    def fail(self, party: str) -> None:
        """Note that an exception passes. The innermost party sees it first, and is where it came from."""
        self.failed = self.failed or party

    def stop(self, now: float, *, consuming: bool) -> None:
        """Note that the stream ended.

        Args:
            now: When (``perf_counter`` seconds).
            consuming: Whether the caller had control.
        """
        if consuming:
            self.consumer += now - self.last
        self.last = now
        # Whatever replaced the clock, nobody had less than no time.
        for part in ("compile", "exchange", "body", "frames", "consumer"):
            setattr(self, part, max(getattr(self, part), 0.0))

    @property
    def transport(self) -> float:
        """Time with the provider."""
        return self.exchange + self.body

    @property
    def pipeline(self) -> float:
        """Time with decoder and transforms."""
        return max(0.0, self.frames - self.body)  # A sum may be rounded to less than its parts.

    @property
    def map(self) -> float:
        """Time with the mapper, and with what nobody else accounts for."""
        return max(0.0, self.total() - self.compile - self.exchange - self.frames - self.consumer)

    def total(self) -> float:
        """Return the time from the beginning to the last moment noted."""
        return max(self.last - self.started, 0.0)


@dataclass(slots=True)
class StreamState:
    """What the layers of a stream note as it passes.

    Attributes:
        clock: Whose time it is.
        chunk_timing: Whether each chunk is recorded.
        foreign: Whether, once the stream flows, anything may run in it that is not the runtime's own.
        bytes: Bytes received.
        last_chunk: The last of them, to see whether a body ends with its done signal.
        body_exhausted: Whether the provider sent all it had.
        decoded: Frames that the decoder made, where transforms follow it.
        offered: Frames that passed the transforms, to the mapper.
        unmapped: Frames of which the mapper made no event, the last one apart.
        events: Events handed to the caller.
        events_before: How many those were when the last frame was offered; -1 before the first.
        finished: Whether a finish reason, a done signal or a ``StreamEnd`` was seen.
        erroneous: Whether a ``StreamError`` was seen.
        processing_began: When the pipeline began (``perf_counter`` seconds).
        sending: Whether the request has been compiled and is on its way.
        exchange: The HTTP exchange that carries the stream.
        refused: Seconds of those before it, where a transport asks more than once.
    """

    clock: StageClock
    chunk_timing: bool
    attentive: bool = False
    foreign: bool = True
    messages: StreamMessages | None = None
    chunk_arrived: float = 0.0
    time_to_first_chunk: float | None = None
    bytes: int = 0
    last_chunk: Any = b""
    body_exhausted: bool = False
    decoded: int = 0
    offered: int = 0
    unmapped: int = 0
    events: int = 0
    events_before: int = -1
    report: Report = Report()
    reasons: dict[int, str] = field(default_factory=dict)
    first_frame: Answer = Answer()
    finished: bool = False
    erroneous: bool = False
    processing_began: float | None = None
    sending: bool = False
    exchange: Exchange | None = None
    refused: float = 0.0

    @property
    def frames(self) -> int:
        """Frames decoded: without transforms, those that are offered, and nobody counts them twice."""
        return self.decoded or self.offered

    def outcome(self, error: BaseException | None, *, exhausted: bool) -> str:
        """Classify the end of the stream (signals, section 4)."""
        if isinstance(error, asyncio.CancelledError):
            return semconv.CANCELLED
        if self.erroneous or (error is not None and not isinstance(error, GeneratorExit)):
            return semconv.ERROR
        if exhausted and not self.events and self.bytes:
            return semconv.EMPTY
        if self.finished:
            return semconv.COMPLETED
        return semconv.TRUNCATED if exhausted else semconv.ABANDONED

    def answer(self) -> Answer:
        """Put together what frames and events said about the answer."""
        return Answer(
            id=self.first_frame.id,
            model=self.first_frame.model,
            finish_reasons=tuple(self.reasons[index] for index in sorted(self.reasons)),
            usage=self.report.usage,
        )


def _note_reason(state: StreamState, index: Any, reason: Any) -> None:
    known = naming.text(reason)
    if known is not None:
        state.finished = True
        if len(state.reasons) < _MAX_CANDIDATES:
            state.reasons[index if isinstance(index, int) else 0] = known


def _metadata(state: StreamState, data: Any) -> None:
    said = getattr(data, "usage", None)
    if said:
        state.report = state.report.merged(reported(said))
    _note_reason(state, 0, getattr(data, "finish_reason", None) or getattr(data, "stop_reason", None))


def _final_candidate(state: StreamState, data: Any) -> None:
    _note_reason(state, getattr(data, "candidate_index", 0), getattr(data, "finish_reason", None))


def _stream_end(state: StreamState, data: Any) -> None:
    state.finished = True
    _note_reason(state, 0, getattr(data, "finish_reason", None))


def _stream_error(state: StreamState, data: Any) -> None:
    state.erroneous = True


# The events that say something about the stream. All others, the many, cost one look-up.
NOTES: dict[str, Callable[[StreamState, Any], None]] = {
    "Metadata": guarded(_metadata),
    "FinalCandidate": guarded(_final_candidate),
    "StreamEnd": guarded(_stream_end),
    "StreamError": guarded(_stream_error),
}
