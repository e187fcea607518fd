"""What a round of the application amounts to, as the counters tell it."""

from __future__ import annotations

from application import CHATS as UNRATED
from application import CONTENT, QUEUED, RATINGS, STREAMS

CHATS = UNRATED + 1
FRAMES = len(CONTENT) + 1
"""A frame a character, and one with the finish reason."""

# What the mock provider says that a chat used.
INPUT, OUTPUT = 10, len(CONTENT.split())

TRANSPORT_ERROR = "ai_lib_python.errors.base.TransportError"

# By metric: the names of the labels, and a count for each of their values.
Row = tuple[str, ...]
Table = tuple[Row, dict[Row, float]]

CALLS: dict[Row, float] = {
    ("openai", "gpt-4o"): CHATS + STREAMS + 1,
    ("openai", "limited"): QUEUED,
    ("anthropic", "claude-sonnet"): 1,
    ("openai", "retried"): 1,
    ("openai", "secondary"): 1,
    ("throttled", "large"): 1,
    ("openai", "failing"): 1,
    ("throttled", "tripped"): 1,
    ("openai", "truncated"): 1,
    ("mapless", "empty"): 1,
    ("openai", "complaining"): 1,
    ("openai", "broken"): 1,
    ("openai", "cancelled"): 1,
}

# What is in flight counts for the model that was asked, and a fallback model is not.
ASKED = {("throttled", "primary") if row == ("openai", "secondary") else row for row in CALLS}

EACH_ROUND: dict[str, Table] = {
    "ai_lib_requests_total": (("provider", "model"), CALLS),
    "ai_lib_request_duration_seconds_count": (("provider", "model"), CALLS),
    "ai_lib_tokens_total": (
        ("provider", "model", "type"),
        {
            ("openai", "gpt-4o", "input"): INPUT * CHATS,
            ("openai", "gpt-4o", "output"): OUTPUT * CHATS,
            ("openai", "limited", "input"): INPUT * QUEUED,
            ("openai", "limited", "output"): OUTPUT * QUEUED,
            ("openai", "secondary", "input"): INPUT,
            ("openai", "secondary", "output"): OUTPUT,
            ("openai", "retried", "input"): 12,
            ("openai", "retried", "output"): 5,
            ("anthropic", "claude-sonnet", "input"): 125,
            ("anthropic", "claude-sonnet", "output"): 7,
        },
    ),
    "ai_lib_token_details_total": (
        ("model", "type"),
        {("claude-sonnet", "cache_read"): 100, ("claude-sonnet", "cache_write"): 20},
    ),
    "ai_lib_streams_total": (
        ("model", "outcome"),
        {
            ("gpt-4o", "completed"): STREAMS,
            ("gpt-4o", "abandoned"): 1,
            ("truncated", "truncated"): 1,
            ("empty", "empty"): 1,
            ("complaining", "error"): 1,
            ("broken", "error"): 1,
            ("cancelled", "cancelled"): 1,
        },
    ),
    "ai_lib_stream_frames_total": (
        ("model", "result"),
        {
            ("gpt-4o", "mapped"): STREAMS * FRAMES + 1,
            ("truncated", "mapped"): 1,
            ("empty", "unmapped"): 1,
            ("complaining", "mapped"): 3,
            ("broken", "mapped"): 1,
            ("cancelled", "mapped"): 1,
        },
    ),
    "gen_ai_client_operation_time_per_output_chunk_seconds_count": (
        ("gen_ai_request_model",),
        {("gpt-4o",): STREAMS * (FRAMES - 1), ("complaining",): 2},
    ),
    "ai_lib_retries_total": (("provider", "model", "type"), {("openai", "retried", "overloaded"): 1}),
    "ai_lib_retry_delay_seconds_count": (("provider", "model", "type"), {("openai", "retried", "overloaded"): 1}),
    "ai_lib_fallbacks_total": (
        ("from", "to", "type"),
        {("throttled/primary", "openai/secondary", "rate_limited"): 1},
    ),
    "ai_lib_feedback_total": (("type",), {("rating",): len(RATINGS)}),
    "ai_lib_feedback_score_count": (("type",), {("rating",): len(RATINGS)}),
    "ai_lib_feedback_score_sum": (("type",), {("rating",): sum((rating - 1) / 4 for rating in RATINGS)}),
    "ai_lib_rate_limiter_wait_seconds_count": (("executor",), {("openai/limited",): QUEUED}),
    "ai_lib_backpressure_wait_seconds_count": (("executor",), {("openai/limited",): QUEUED}),
}
"""Counts that every round adds."""

IN_ALL: dict[str, Table] = {
    "ai_lib_requests_in_flight": (("provider", "model"), dict.fromkeys(ASKED, 0)),
    "ai_lib_circuit_breaker_state": (
        ("executor", "state"),
        {("throttled/tripped", "closed"): 0, ("throttled/tripped", "half_open"): 0, ("throttled/tripped", "open"): 1},
    ),
    "ai_lib_circuit_breaker_transitions_total": (("executor", "to"), {("throttled/tripped", "open"): 1}),
    "ai_lib_circuit_breaker_rejections_total": (("executor",), {("throttled/tripped",): 1}),
    "ai_lib_backpressure_in_flight": (("executor",), {("openai/limited",): 0}),
    "ai_lib_backpressure_limit": (("executor",), {("openai/limited",): 1}),
}
"""What is so after two rounds: the breaker, open since the first, refuses the call of the second."""

# Of the calls that say something about a provider, this share failed: openai 3 of 15, throttled all.
HEALTH = {"openai": "degraded", "throttled": "unhealthy", "anthropic": "healthy", "mapless": "healthy"}
STATUSES = ("healthy", "degraded", "unhealthy", "unknown")
IN_ALL["ai_lib_provider_health"] = (
    ("provider", "status"),
    {(name, status): status == HEALTH[name] for name in HEALTH for status in STATUSES},
)

FAILED: Row = ("provider", "model", "type", "stage")
IN_ALL["ai_lib_errors_total"] = (
    FAILED,
    {
        ("throttled", "large", "rate_limited", "http.transport"): 2,
        ("openai", "failing", "server_error", "http.transport"): 2,
        ("openai", "complaining", "stream_error", "event.map"): 2,
        ("openai", "broken", TRANSPORT_ERROR, "http.transport"): 2,
        ("openai", "cancelled", "cancelled", "http.transport"): 2,
        ("throttled", "tripped", "rate_limited", "http.transport"): 1,
        ("throttled", "tripped", "circuit_open", "resilience"): 1,
    },
)
IN_ALL["ai_lib_attempts_total"] = (
    ("provider", "model", "kind", "type"),
    {
        ("openai", "gpt-4o", "initial", "ok"): 2 * (CHATS + STREAMS + 1),
        ("openai", "limited", "initial", "ok"): 2 * QUEUED,
        ("anthropic", "claude-sonnet", "initial", "ok"): 2,
        ("openai", "retried", "initial", "overloaded"): 2,
        ("openai", "retried", "retry", "ok"): 2,
        ("throttled", "primary", "initial", "rate_limited"): 2,
        ("openai", "secondary", "fallback", "ok"): 2,
        ("throttled", "large", "initial", "rate_limited"): 2,
        ("openai", "failing", "initial", "server_error"): 2,
        ("throttled", "tripped", "initial", "rate_limited"): 1,
        ("openai", "truncated", "initial", "ok"): 2,
        ("mapless", "empty", "initial", "ok"): 2,
        ("openai", "complaining", "initial", "ok"): 2,
        ("openai", "broken", "initial", TRANSPORT_ERROR): 2,
        ("openai", "cancelled", "initial", "cancelled"): 2,
    },
)

# By dashboard and panel, of its first query: what the second round adds, which is all that a rate can see.
PANELS: dict[tuple[str, str], float] = {
    ("overview", "Failed calls"): 4 / sum(CALLS.values()),
    ("overview", "In flight"): 0,
    ("streaming", "Ended badly"): 4 / (STREAMS + 6),
    ("streaming", "Not mapped"): 1 / (STREAMS * FRAMES + 1 + 7),
    ("resilience", "Failed attempts"): 5 / (CHATS + STREAMS + 1 + QUEUED + 12),
    ("resilience", "Breakers open"): 1,
    ("feedback_health", "Providers unhealthy"): 1,
    ("feedback_health", "Mean score"): sum((rating - 1) / 4 for rating in RATINGS) / len(RATINGS),
    ("resilience", "Queue, fullest"): 0,
}
"""Ratios are exact however the server extrapolates."""
