"""How a stream ends: its stages and counts, recorded once, and what the response hook gets."""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.util.genai.types import OutputMessage
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import logs, naming, semconv
from opentelemetry_instrumentation_ailib.exchange import end_exchange
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.stream_state import COMPILE, MAP, STAGE_OF, StreamState
from opentelemetry_instrumentation_ailib.usage import Usage

_record_stage = guarded(Operation.record_stage)


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


@guarded
def end_stream(
    operation: Operation, state: StreamState, ended: float, error: BaseException | None, *, exhausted: bool
) -> None:
    """Record a stream's end and end its operation.

    Args:
        operation: The operation.
        state: What was noted as the stream passed.
        ended: When it ended (``perf_counter`` seconds).
        error: The exception that ended it, if one did.
        exhausted: Whether it was read to its end.
    """
    clock = state.clock
    # Where nobody lower down saw an exception, the mapper raised it, or what compiles the request.
    failed = clock.failed or (MAP if state.sending else COMPILE)
    clock.stop(ended, consuming=error is None and not exhausted)
    if not state.sending:
        clock.compile = clock.total()
    elif state.processing_began is None:
        clock.exchange += clock.map  # There is no stage of a mapper to record it.
    outcome = state.outcome(error, exhausted=exhausted)
    # Whoever closes a stream leaves it, and nothing failed.
    failure: BaseException | str | None = None if isinstance(error, GeneratorExit) else error
    if outcome == semconv.ERROR and error is None:
        failure, failed = semconv.STREAM_ERROR, MAP
    operation.stage = STAGE_OF[failed]
    if operation.heard:
        _record_stages(operation, state, {operation.stage: naming.failure_type(failure)})
        _record_stream(operation, state, outcome)
    answer = state.answer()
    if state.messages is not None:
        operation.outputs = _messages(state) or []
    operation.end(
        answer=answer,
        response=StreamSummary(outcome, answer.finish_reasons, answer.usage, state.bytes, state.frames, state.events),
        error=failure,
        duration=clock.total(),
        outcome=outcome,
    )
    if operation.heard:
        logs.stream_ended(operation, outcome, bytes=state.bytes, frames=state.frames)


@guarded
def _messages(state: StreamState) -> list[OutputMessage]:
    return [] if state.messages is None else state.messages.messages(state.reasons)


@guarded
def _record_stages(operation: Operation, state: StreamState, failed: dict[str, str | None]) -> None:
    clock = state.clock
    _record_stage(
        operation,
        semconv.REQUEST_COMPILE,
        clock.started,
        busy=clock.compile,
        error=failed.get(semconv.REQUEST_COMPILE),
    )
    if state.exchange is not None:
        busy = clock.transport - state.refused
        end_exchange(state.exchange, clock.last, failed.get(semconv.HTTP_TRANSPORT), busy=busy)
        operation.record_stage_duration(semconv.HTTP_TRANSPORT, clock.transport)
    if state.processing_began is None:
        return
    pipeline: dict[str, AttributeValue] = {semconv.STREAM_BYTES: state.bytes, semconv.STREAM_FRAMES: state.frames}
    mapped: dict[str, AttributeValue] = {semconv.STREAM_EVENTS: state.events}
    for stage, busy, counts in (
        (semconv.PIPELINE_PROCESS, clock.pipeline, pipeline),
        (semconv.EVENT_MAP, clock.map, mapped),
    ):
        _record_stage(
            operation,
            stage,
            state.processing_began,
            busy=busy,
            ended=clock.last,
            error=failed.get(stage),
            attributes=counts,
        )


@guarded
def _record_stream(operation: Operation, state: StreamState, outcome: str) -> None:
    instruments, context = operation.telemetry.instruments, operation.measured
    labels = operation.identity.model_labels
    instruments.stream_consumer.record(state.clock.consumer, labels, context=context)
    instruments.streams.add(1, {**labels, semconv.LABEL_OUTCOME: outcome}, context=context)
    # The last frame counts as unmapped if the stream ended before it brought an event.
    unmapped = state.unmapped + int(state.offered > 0 and state.events == state.events_before)
    frames = (
        (semconv.MAPPED, state.offered - unmapped),
        (semconv.UNMAPPED, unmapped),
        (semconv.FILTERED, state.frames - state.offered),
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
    if state.time_to_first_chunk is not None:
        operation.attributes[semconv.RESPONSE_TIME_TO_FIRST_CHUNK] = state.time_to_first_chunk
