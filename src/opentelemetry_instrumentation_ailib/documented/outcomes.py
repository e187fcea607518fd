"""How the calls of each provider ended of late: what a provider's health is read from."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.operation import Operation

# The window and the thresholds are those of the runtime's ProviderHealthTracker.
WINDOW: Final = 100
_UNHEALTHY: Final = 0.5
_DEGRADED: Final = 0.1
# An outcome speaks for five minutes. A provider that failed its last call would never recover where health decides
# about traffic.
MAX_AGE: Final = 300.0
_MAX_PROVIDERS: Final = 256

# What says nothing about the provider: the application gave up, or never asked.
_NO_EVIDENCE: Final = frozenset({semconv.CANCELLED, semconv.CIRCUIT_OPEN, semconv.BACKPRESSURE})
_BEFORE_PROVIDER: Final = frozenset(
    {semconv.CLIENT, semconv.PROTOCOL_LOAD, semconv.REQUEST_COMPILE, semconv.RESILIENCE}
)
# What json.dumps() raises, in the transport's hands, about a request that it cannot write.
_NOT_SENT: Final = frozenset({"RecursionError", "TypeError", "UnicodeEncodeError", "ValueError"})
# Answers that find fault with the request: the provider works.
_ANSWERED: Final = frozenset({"invalid_request", "not_found", "request_too_large", "conflict"})

_TRACKER_MODULE: Final = "ai_lib_python.telemetry.health"


class Window:
    """The last outcomes of one provider.

    Attributes:
        times: When the calls ended, in monotonic seconds.
        errors: Their error types; ``None`` for a success.
    """

    # Numbers and strings are nothing that the garbage collector looks at, as the pairs of them would be.

    def __init__(self) -> None:
        self.times: deque[float] = deque(maxlen=WINDOW)
        self.errors: deque[str | None] = deque(maxlen=WINDOW)

    def since(self, moment: float) -> list[str | None]:
        """Return the outcomes since a moment, in monotonic seconds."""
        return [error for at, error in zip(list(self.times), list(self.errors), strict=False) if at >= moment]


@dataclass(frozen=True)
class Health:
    """The health of one provider.

    Attributes:
        status: One of ``semconv.HEALTH_STATUSES``.
        error_rate: The share of failures among the calls.
        calls: How many calls of the last five minutes it is based on, 100 at the most.
        last_error: The error type of the last failure among them.
    """

    status: str
    error_rate: float
    calls: int
    last_error: str | None


@dataclass
class Outcomes:
    """The last outcomes of each provider.

    Args:
        feeds_tracker: Whether the runtime's ``get_health_tracker()`` gets them too.
    """

    # Every step is atomic, so that there is no lock that a garbage collection could find taken by its own thread.

    feeds_tracker: bool = True
    _providers: dict[str, Window] = field(default_factory=dict)

    def observe(self, operation: Operation, error: str | None, raised: BaseException | str | None = None) -> None:
        """Note what an operation that has ended says about the providers that it asked.

        Args:
            operation: The operation.
            error: Its error type.
            raised: What made it fail.
        """
        last = operation.identity.provider, error and (_classified(raised) or error), operation.stage
        for provider, kind, stage in (*operation.attempts.abandoned, last):
            if kind is None or _is_evidence(stage, kind):
                self._note(provider, None if kind in _ANSWERED else kind)

    def _note(self, provider: str, error: str | None) -> None:
        window = self._providers.get(provider)
        if window is None:
            if len(self._providers) >= _MAX_PROVIDERS:
                return
            window = self._providers.setdefault(provider, Window())
        window.times.append(time.monotonic())
        window.errors.append(error)
        tracker = _tracker() if self.feeds_tracker else None
        if tracker is not None:
            _feed(tracker, provider, error)

    def catch_up(self) -> None:
        """Tell the runtime's tracker, which has just been imported, what happened before."""
        # Where nothing happened the tracker stays to be made by who asks for it first.
        tracker = _tracker() if self.feeds_tracker and self._providers else None
        if tracker is None:
            return
        for provider, window in list(self._providers.items()):
            for error in list(window.errors):
                _feed(tracker, provider, error)

    def of(self, provider: str) -> Health:
        """Return the health of a provider."""
        window = self._providers.get(provider)
        recent = [] if window is None else window.since(time.monotonic() - MAX_AGE)
        errors = [error for error in recent if error is not None]
        rate = len(errors) / len(recent) if recent else 0.0
        return Health(_status(rate, len(recent)), rate, len(recent), errors[-1] if errors else None)

    def all(self) -> dict[str, Health]:
        """Return the health of every provider that was ever called in this round."""
        return {provider: self.of(provider) for provider in list(self._providers)}

    def statuses(self) -> dict[str, str]:
        """Return the status of every provider that was ever called in this round."""
        return {provider: health.status for provider, health in self.all().items()}


def _classified(raised: BaseException | str | None) -> str | None:
    """Return the runtime's class of an answer for which rerank and speech raise, before 1.2.0, what httpx does."""
    known = any(base.__name__ == "HTTPStatusError" for base in type(raised).__mro__)
    status = getattr(getattr(raised, "response", None), "status_code", None) if known else None
    if not isinstance(status, int):
        return None
    from ai_lib_python.errors import classify_http_error

    kind = str(classify_http_error(status).value)
    return kind if kind in _ANSWERED else None  # Else it stays what it is called elsewhere.


def _is_evidence(stage: str, error: str) -> bool:
    unsent = stage in _BEFORE_PROVIDER or (stage == semconv.HTTP_TRANSPORT and error in _NOT_SENT)
    return not unsent and error not in _NO_EVIDENCE


def _status(rate: float, calls: int) -> str:
    if not calls:
        return semconv.UNKNOWN
    if rate >= _UNHEALTHY:
        return semconv.UNHEALTHY
    return semconv.DEGRADED if rate >= _DEGRADED else semconv.HEALTHY


def _tracker() -> Any:
    # The package imports it, and most applications do not import the package.
    get = getattr(sys.modules.get(_TRACKER_MODULE), "get_health_tracker", None)
    return None if get is None else get()


def _feed(tracker: Any, provider: str, error: str | None) -> None:
    if error is None:
        tracker.record_success(provider)
    else:
        tracker.record_failure(provider, error)
