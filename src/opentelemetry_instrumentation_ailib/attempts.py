"""The HTTP exchanges of an operation, and why there was more than one: retries and fallbacks."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import logs, naming, semconv

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.operation import Operation


@dataclass(slots=True)
class Attempts:
    """What is known of the exchanges of an operation.

    Attributes:
        model: The model that is asked, with its provider.
        wanted: The same after a fallback, as the runtime asked for it.
        count: Exchanges begun.
        resends: Those among them that sent the request again.
        retries: Retries decided on.
        fallbacks: Turns to another model.
        pending: The kind of the next exchange, where something decided on one.
        failed: Whether the last exchange failed.
        abandoned: The providers turned away from, each with the error type that was the reason, and its stage.
    """

    model: str
    wanted: str | None = None
    count: int = 0
    resends: int = 0
    retries: int = 0
    fallbacks: int = 0
    pending: str | None = None
    failed: bool = False
    abandoned: tuple[tuple[str, str, str], ...] = ()

    def begin(self) -> str:
        """Count an exchange that begins and return its kind: ``initial``, ``retry`` or ``fallback``."""
        # A transport of the user's own may retry without a word. The requests of a batch follow successes.
        kind = self.pending or (semconv.RETRY if self.failed else semconv.INITIAL)
        self.pending = None
        self.count += 1
        self.resends += kind != semconv.INITIAL
        return kind


def end_attempt(operation: Operation, kind: str, error: str | None) -> None:
    """Record an exchange that is over.

    Args:
        operation: The operation it belongs to.
        kind: What ``Attempts.begin`` returned for it.
        error: Its error type, if it failed.
    """
    operation.attempts.failed = error is not None
    result = semconv.OK if error is None else operation.telemetry.labels.error(error)
    labels = {**operation.identity.model_labels, semconv.LABEL_KIND: kind, semconv.LABEL_TYPE: result}
    operation.telemetry.instruments.attempts.add(1, labels, context=operation.measured)


def note_retry(operation: Operation, attempt: int, error: BaseException, delay: float) -> None:
    """Record that the runtime is going to send a request again.

    Args:
        operation: The operation it belongs to.
        attempt: How many attempts have failed.
        error: What the last one failed with.
        delay: Seconds until the next.
    """
    kind = naming.failure_type(error) or semconv.OTHER
    # A body that could not be parsed ended the attempt.
    operation.leave(kind)
    operation.attempts.retries += 1
    operation.attempts.pending = semconv.RETRY
    operation.stage = semconv.RESILIENCE
    instruments, known = operation.telemetry.instruments, operation.telemetry.labels.error(kind)
    labels = {**operation.identity.model_labels, semconv.LABEL_TYPE: known}
    instruments.retries.add(1, labels, context=operation.measured)
    instruments.retry_delay.record(delay, labels, context=operation.measured)
    operation.span.add_event(
        semconv.RETRY_EVENT,
        {semconv.EVENT_ATTEMPT: attempt, semconv.EVENT_DELAY: delay, semconv.ERROR_TYPE: kind},
        operation.began.at(perf_counter()),
    )
    logs.retry(operation, attempt, kind, delay)


class Turn(NamedTuple):
    """A turn to another model, whose manifest has yet to say what its provider is called.

    Attributes:
        origin: The model that failed, with its provider.
        kind: The error type it failed with.
        at: When (``perf_counter`` seconds).
    """

    origin: str
    kind: str
    at: float


def note_fallback(operation: Operation, target: str, error: BaseException | None) -> Turn | None:
    """Note that the runtime turns to another model, and return the turn; ``None`` where that is known already.

    Args:
        operation: The operation it belongs to.
        target: The model it turns to, with what its provider may be called: ``anthropic/claude-sonnet-4``.
        error: What the model before failed with.
    """
    attempts = operation.attempts
    if attempts.pending == semconv.FALLBACK and attempts.wanted == target:
        return None  # A loader of the user's own asks again.
    kind = operation.error_type(error) or semconv.OTHER
    operation.leave(kind)
    operation.dequeue()
    attempts.fallbacks += 1
    attempts.pending, attempts.wanted = semconv.FALLBACK, target
    origin, attempts.model = attempts.model, naming.text(target) or semconv.OTHER
    attempts.abandoned += ((operation.identity.provider, kind, operation.stage),)
    operation.attributes[semconv.FALLBACK_COUNT] = attempts.fallbacks
    operation.attributes[semconv.FALLBACK_MODEL] = naming.model_name(attempts.model)
    return Turn(origin, kind, perf_counter())


def record_fallback(operation: Operation, turn: Turn, provider: str | None) -> None:
    """Record a turn to another model.

    Args:
        operation: The operation it belongs to.
        turn: What ``note_fallback`` returned.
        provider: The id of the manifest that was asked for, perhaps by an alias; ``None`` where there is none.
    """
    attempts, bounded = operation.attempts, operation.telemetry.labels
    if provider is not None:
        attempts.model = f"{provider}/{naming.model_name(attempts.model)}"
    known: dict[str, AttributeValue] = {semconv.LABEL_FROM: turn.origin, semconv.LABEL_TO: attempts.model}
    labels = {**bounded.turn(turn.origin, attempts.model), semconv.LABEL_TYPE: bounded.error(turn.kind)}
    operation.telemetry.instruments.fallbacks.add(1, labels, context=operation.measured)
    event = {**known, semconv.ERROR_TYPE: turn.kind}
    operation.span.add_event(semconv.FALLBACK_EVENT, event, operation.began.at(turn.at))
    logs.fallback(operation, turn.origin, attempts.model, turn.kind)
