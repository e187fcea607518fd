"""The ``ai_lib.*`` instruments. The ``gen_ai.client.*`` ones belong to ``opentelemetry-util-genai``."""

from __future__ import annotations

from opentelemetry.metrics import Meter

from opentelemetry_instrumentation_ailib import semconv

# The boundaries of the GenAI conventions, so that the page's family compares with gen_ai.client.operation.duration.
# Floats throughout: the Prometheus exporter prints a boundary as its Python type does, and `le` must not change.
DURATION_BOUNDARIES = tuple(0.01 * 2**n for n in range(14))
# A stage lasts from some ten microseconds (compile) to minutes (transport).
STAGE_BOUNDARIES = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Instruments:
    """One attribute per instrument of the signal contract.

    Args:
        meter: The meter of this instrumentation's scope.
    """

    def __init__(self, meter: Meter) -> None:
        self.requests = meter.create_counter(
            semconv.REQUESTS, "{request}", "Calls that the application made, counted when they end"
        )
        self.request_duration = meter.create_histogram(
            semconv.REQUEST_DURATION,
            "s",
            "Duration of calls, retries, fallbacks and the consumption of streams included",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDARIES,
        )
        self.tokens = meter.create_counter(semconv.TOKENS, "{token}", "Tokens used, by type")
        self.errors = meter.create_counter(semconv.ERRORS, "{error}", "Calls that failed, by error type and stage")
        self.token_details = meter.create_counter(
            semconv.TOKEN_DETAILS, "{token}", "Tokens read from and written to a cache, and spent on reasoning"
        )
        self.stage_duration = meter.create_histogram(
            semconv.STAGE_DURATION,
            "s",
            "Duration of the stages of a call; exclusive time for streams",
            explicit_bucket_boundaries_advisory=STAGE_BOUNDARIES,
        )
        self.requests_in_flight = meter.create_up_down_counter(
            semconv.REQUESTS_IN_FLIGHT, "{request}", "Calls that have begun and not ended"
        )
        self.stream_consumer = meter.create_histogram(
            semconv.STREAM_CONSUMER,
            "s",
            "Time for which the caller of a stream held it",
            explicit_bucket_boundaries_advisory=STAGE_BOUNDARIES,
        )
        self.stream_frames = meter.create_counter(
            semconv.STREAM_FRAMES, "{frame}", "Frames of streams, by what the pipeline made of them"
        )
        self.streams = meter.create_counter(semconv.STREAMS, "{stream}", "Streams that ended, by outcome")
