"""Names, and who and what they name: providers, models, servers, errors. There is no span in here."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.semconv._incubating.attributes.gen_ai_attributes import GenAiOperationNameValues
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes, url_attributes
from opentelemetry.semconv.schemas import Schemas

# The schema that opentelemetry-util-genai declares for what it records in our scope.
SCHEMA_URL: Final = Schemas.V1_37_0.value

# --- attributes of the conventions ---
ERROR_TYPE: Final = error_attributes.ERROR_TYPE
HTTP_REQUEST_METHOD: Final = http_attributes.HTTP_REQUEST_METHOD
HTTP_REQUEST_RESEND_COUNT: Final = http_attributes.HTTP_REQUEST_RESEND_COUNT
HTTP_RESPONSE_STATUS_CODE: Final = http_attributes.HTTP_RESPONSE_STATUS_CODE
SERVER_ADDRESS: Final = server_attributes.SERVER_ADDRESS
SERVER_PORT: Final = server_attributes.SERVER_PORT
URL_PATH: Final = url_attributes.URL_PATH
CHAT: Final = GenAiOperationNameValues.CHAT.value

# --- attributes of our own ---
ATTEMPTS: Final = "ai_lib.attempts"
BUSY_TIME: Final = "ai_lib.busy_time"
CIRCUIT_BREAKER_STATE: Final = "ai_lib.circuit_breaker.state"
FALLBACK_COUNT: Final = "ai_lib.fallback.count"
FALLBACK_MODEL: Final = "ai_lib.fallback.model"
PROTOCOL_SOURCE: Final = "ai_lib.protocol.source"
PROTOCOL_VERSION: Final = "ai_lib.protocol.version"
PROVIDER_ID: Final = "ai_lib.provider.id"
PROVIDER_REQUEST_ID: Final = "ai_lib.provider.request_id"
REQUEST_ID: Final = "ai_lib.request.id"
STAGE: Final = "ai_lib.stage"
STREAM_BYTES: Final = "ai_lib.stream.bytes"
STREAM_EVENTS: Final = "ai_lib.stream.events"
# Also the name of the counter of frames.
STREAM_FRAMES: Final = "ai_lib.stream.frames"
STREAM_OUTCOME: Final = "ai_lib.stream.outcome"

# --- metrics ---
REQUESTS: Final = "ai_lib.requests"
REQUEST_DURATION: Final = "ai_lib.request.duration"
TOKENS: Final = "ai_lib.tokens"
ERRORS: Final = "ai_lib.errors"
TOKEN_DETAILS: Final = "ai_lib.token.details"  # noqa: S105 - a metric
STAGE_DURATION: Final = "ai_lib.stage.duration"
REQUESTS_IN_FLIGHT: Final = "ai_lib.requests.in_flight"
STREAM_CONSUMER: Final = "ai_lib.stream.consumer"
STREAMS: Final = "ai_lib.streams"

# --- labels of the metrics ---
LABEL_PROVIDER: Final = "provider"
LABEL_MODEL: Final = "model"
LABEL_OPERATION: Final = "operation"
LABEL_STAGE: Final = "stage"
LABEL_TYPE: Final = "type"
LABEL_OUTCOME: Final = "outcome"
LABEL_RESULT: Final = "result"

# --- stages, in the order of a request; the span of each is called ai_lib.<stage> ---
PROTOCOL_LOAD: Final = "protocol.load"
REQUEST_COMPILE: Final = "request.compile"
HTTP_TRANSPORT: Final = "http.transport"
PIPELINE_PROCESS: Final = "pipeline.process"
EVENT_MAP: Final = "event.map"
STAGES: Final = (PROTOCOL_LOAD, REQUEST_COMPILE, HTTP_TRANSPORT, PIPELINE_PROCESS, EVENT_MAP)
SPAN_NAMES: Final = {stage: f"ai_lib.{stage}" for stage in STAGES}
# Where a call can fail besides its stages.
CLIENT: Final = "client"
RESILIENCE: Final = "resilience"

# --- outcomes of streams ---
COMPLETED: Final = "completed"
ABANDONED: Final = "abandoned"
CANCELLED: Final = "cancelled"
ERROR: Final = "error"
TRUNCATED: Final = "truncated"
EMPTY: Final = "empty"

CIRCUIT_OPEN: Final = "circuit_open"
BACKPRESSURE: Final = "backpressure"
TIMEOUT: Final = "timeout"
STREAM_ERROR: Final = "stream_error"
# What the conventions say where a type exists and is not known.
OTHER: Final = "_OTHER"

_PROVIDER_NAMES: Final = {
    "azure": "azure.ai.openai",
    "azure-openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "vertex-ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
}

# Exceptions by the name of their class, so that no part of the runtime is imported to recognise them.
_ERROR_TYPES: Final = {
    "CircuitOpenError": CIRCUIT_OPEN,
    "BackpressureError": BACKPRESSURE,
    "TimeoutException": TIMEOUT,
    "TimeoutError": TIMEOUT,
    "CancelledError": CANCELLED,
}
_RESILIENCE_TYPES: Final = frozenset({CIRCUIT_OPEN, BACKPRESSURE})

_MAX_TEXT: Final = 256


def provider_name(provider_id: str) -> str:
    """Return ``gen_ai.provider.name`` for a manifest's id: the conventions' value where there is one, else the id."""
    return _PROVIDER_NAMES.get(provider_id) or bounded(provider_id, _MAX_TEXT)


def model_name(model: str) -> str:
    """Return what follows the first ``/`` of a model string: ``openai/gpt-4o`` is ``gpt-4o``."""
    return bounded(model.partition("/")[2] or model, _MAX_TEXT)


@lru_cache(maxsize=256)
def server(base_url: str) -> tuple[str | None, int | None]:
    """Return the address and port behind a base URL, ``None`` for what it does not say."""
    try:
        url = urlsplit(base_url)
        port = url.port
    except ValueError:
        return None, None
    if url.hostname is None:
        return None, None
    return url.hostname, port if port is not None else {"https": 443, "http": 80}.get(url.scheme)


@lru_cache(maxsize=256)
def url_path(base_url: str, path: str) -> str:
    """Return the path of a request the way httpx joins it to its base, without query and fragment."""
    try:
        if "://" in path:
            return urlsplit(path).path or "/"
        return f"{urlsplit(base_url).path.rstrip('/')}/{urlsplit(path).path.lstrip('/')}"
    except ValueError:
        return "/"


def failure_type(error: BaseException | str | None) -> str | None:
    """Return ``error.type``, or ``None`` where nothing failed.

    It is the runtime's class of the error, a well-known type, or the exception's class name; never a message.

    Args:
        error: An exception, or the type of an error that is none. ``GeneratorExit`` is how a consumer leaves.
    """
    if error is None or isinstance(error, (str, GeneratorExit)):
        return error if isinstance(error, str) else None
    error_class = getattr(getattr(error, "error_class", None), "value", None)
    if isinstance(error_class, str):
        return error_class
    # The runtime wraps httpx's timeouts in a TransportError like any other fault.
    cause = error.__cause__ if type(error).__name__ == "TransportError" else None
    for candidate in (error, cause):
        for base in type(candidate).__mro__:
            if base.__name__ in _ERROR_TYPES:
                return _ERROR_TYPES[base.__name__]
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def error_stage(kind: str, current: str) -> str:
    """Return the stage that an error type counts for: where the call stood, unless the resilience layer refused it."""
    return RESILIENCE if kind in _RESILIENCE_TYPES else current


def text(value: Any) -> str | None:
    """Return a string from outside as an attribute can carry it: valid UTF-8, of bounded length."""
    return bounded(value, _MAX_TEXT) if isinstance(value, str) and value else None


def bounded(value: str, length: int) -> str:
    """Cut a string to a length and replace what UTF-8 cannot encode, at which an OTLP exporter would fail."""
    value = value[:length]
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
