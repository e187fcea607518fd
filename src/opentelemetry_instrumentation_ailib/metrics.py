"""The instruments: the ``gen_ai.client.*`` ones of the conventions and the ``ai_lib.*`` ones. No recording."""

from __future__ import annotations

from opentelemetry.metrics import Counter, Histogram, Meter

from opentelemetry_instrumentation_ailib import semconv

# The boundaries of the GenAI conventions, for the page's family too, so that the two compare.
# Floats throughout: the Prometheus exporter prints a boundary as its Python type does, and `le` must not change.
DURATION_BOUNDARIES = tuple(0.01 * 2**n for n in range(14))
TOKEN_BOUNDARIES = tuple(4**n for n in range(14))
# A stage lasts from some ten microseconds (compile) to minutes (transport); so does a wait.
STAGE_BOUNDARIES = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Instruments:
    """One attribute per instrument of the signal contract.

    The gauges of the resilience components are read, not recorded: see ``live.py``.

    Args:
        meter: The meter of this instrumentation's scope.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._conventions()
        self._requests()
        self._resilience()
        self._streams()

    def _counter(self, name: str, unit: str, description: str) -> Counter:
        return self._meter.create_counter(name, unit, description)

    def _seconds(self, name: str, description: str, boundaries: tuple[float, ...] = STAGE_BOUNDARIES) -> Histogram:
        return self._meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=boundaries)

    def _conventions(self) -> None:
        self.operation_duration = self._seconds(
            semconv.CLIENT_OPERATION_DURATION, "Duration of calls to models", DURATION_BOUNDARIES
        )
        self.token_usage = self._meter.create_histogram(
            semconv.CLIENT_TOKEN_USAGE,
            "{token}",
            "Tokens used by a call, by type",
            explicit_bucket_boundaries_advisory=TOKEN_BOUNDARIES,
        )
        self.time_to_first_chunk = self._seconds(
            semconv.CLIENT_TIME_TO_FIRST_CHUNK, "Time from a stream's request to its first chunk", DURATION_BOUNDARIES
        )
        self.time_per_output_chunk = self._seconds(
            semconv.CLIENT_TIME_PER_OUTPUT_CHUNK, "Time from one chunk of a stream to the next", DURATION_BOUNDARIES
        )

    def _requests(self) -> None:
        self.requests = self._counter(
            semconv.REQUESTS, "{request}", "Calls that the application made, counted when they end"
        )
        self.request_duration = self._seconds(
            semconv.REQUEST_DURATION,
            "Duration of calls, retries, fallbacks and the consumption of streams included",
            DURATION_BOUNDARIES,
        )
        self.tokens = self._counter(semconv.TOKENS, "{token}", "Tokens used, by type")
        self.token_details = self._counter(
            semconv.TOKEN_DETAILS, "{token}", "Tokens read from and written to a cache, and spent on reasoning"
        )
        self.cost = self._counter(semconv.COST, "{USD}", "What calls cost, where the model's price is known")
        self.errors = self._counter(semconv.ERRORS, "{error}", "Calls that failed, by error type and stage")
        self.stage_duration = self._seconds(
            semconv.STAGE_DURATION, "Duration of the stages of a call; exclusive time for streams"
        )
        self.requests_in_flight = self._meter.create_up_down_counter(
            semconv.REQUESTS_IN_FLIGHT, "{request}", "Calls that have begun and not ended"
        )

    def _resilience(self) -> None:
        self.attempts = self._counter(semconv.ATTEMPTS, "{attempt}", "HTTP exchanges, by why they were made")
        self.retries = self._counter(semconv.RETRIES, "{retry}", "Retries decided on, by the error that led to them")
        self.retry_delay = self._seconds(semconv.RETRY_DELAY, "Time waited before a retry")
        self.fallbacks = self._counter(semconv.FALLBACKS, "{fallback}", "Turns from one model to its fallback")
        self.circuit_breaker_transitions = self._counter(
            semconv.CIRCUIT_BREAKER_TRANSITIONS, "{transition}", "Changes of a circuit breaker's state"
        )
        self.circuit_breaker_rejections = self._counter(
            semconv.CIRCUIT_BREAKER_REJECTIONS, "{request}", "Requests that an open circuit breaker refused"
        )
        self.rate_limiter_wait = self._seconds(semconv.RATE_LIMITER_WAIT, "Time waited for a rate limiter's permit")
        self.backpressure_wait = self._seconds(semconv.BACKPRESSURE_WAIT, "Time queued for a permit to be in flight")

    def _streams(self) -> None:
        self.stream_consumer = self._seconds(semconv.STREAM_CONSUMER, "Time for which the caller of a stream held it")
        self.stream_frames = self._counter(
            semconv.STREAM_FRAMES, "{frame}", "Frames of streams, by what the pipeline made of them"
        )
        self.streams = self._counter(semconv.STREAMS, "{stream}", "Streams that ended, by outcome")
