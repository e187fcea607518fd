"""The names of everything emitted: attributes, metrics, labels, events, and their well-known values."""

from __future__ import annotations

from typing import Final

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
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
CONVERSATION_ID: Final = gen_ai_attributes.GEN_AI_CONVERSATION_ID
OPERATION_NAME: Final = gen_ai_attributes.GEN_AI_OPERATION_NAME
OUTPUT_TYPE: Final = gen_ai_attributes.GEN_AI_OUTPUT_TYPE
PROVIDER_NAME: Final = gen_ai_attributes.GEN_AI_PROVIDER_NAME
REQUEST_CHOICE_COUNT: Final = gen_ai_attributes.GEN_AI_REQUEST_CHOICE_COUNT
REQUEST_ENCODING_FORMATS: Final = gen_ai_attributes.GEN_AI_REQUEST_ENCODING_FORMATS
REQUEST_FREQUENCY_PENALTY: Final = gen_ai_attributes.GEN_AI_REQUEST_FREQUENCY_PENALTY
REQUEST_MAX_TOKENS: Final = gen_ai_attributes.GEN_AI_REQUEST_MAX_TOKENS
REQUEST_MODEL: Final = gen_ai_attributes.GEN_AI_REQUEST_MODEL
REQUEST_PRESENCE_PENALTY: Final = gen_ai_attributes.GEN_AI_REQUEST_PRESENCE_PENALTY
REQUEST_SEED: Final = gen_ai_attributes.GEN_AI_REQUEST_SEED
REQUEST_STOP_SEQUENCES: Final = gen_ai_attributes.GEN_AI_REQUEST_STOP_SEQUENCES
REQUEST_TEMPERATURE: Final = gen_ai_attributes.GEN_AI_REQUEST_TEMPERATURE
REQUEST_TOP_K: Final = gen_ai_attributes.GEN_AI_REQUEST_TOP_K
REQUEST_TOP_P: Final = gen_ai_attributes.GEN_AI_REQUEST_TOP_P
RESPONSE_FINISH_REASONS: Final = gen_ai_attributes.GEN_AI_RESPONSE_FINISH_REASONS
RESPONSE_ID: Final = gen_ai_attributes.GEN_AI_RESPONSE_ID
RESPONSE_MODEL: Final = gen_ai_attributes.GEN_AI_RESPONSE_MODEL
TOKEN_TYPE: Final = gen_ai_attributes.GEN_AI_TOKEN_TYPE
USAGE_INPUT_TOKENS: Final = gen_ai_attributes.GEN_AI_USAGE_INPUT_TOKENS
USAGE_OUTPUT_TOKENS: Final = gen_ai_attributes.GEN_AI_USAGE_OUTPUT_TOKENS
EVALUATION_EXPLANATION: Final = gen_ai_attributes.GEN_AI_EVALUATION_EXPLANATION
EVALUATION_NAME: Final = gen_ai_attributes.GEN_AI_EVALUATION_NAME
EVALUATION_SCORE_LABEL: Final = gen_ai_attributes.GEN_AI_EVALUATION_SCORE_LABEL
EVALUATION_SCORE_VALUE: Final = gen_ai_attributes.GEN_AI_EVALUATION_SCORE_VALUE
EMBEDDINGS_DIMENSION_COUNT: Final = gen_ai_attributes.GEN_AI_EMBEDDINGS_DIMENSION_COUNT
INPUT_MESSAGES: Final = gen_ai_attributes.GEN_AI_INPUT_MESSAGES
OUTPUT_MESSAGES: Final = gen_ai_attributes.GEN_AI_OUTPUT_MESSAGES
SYSTEM_INSTRUCTIONS: Final = gen_ai_attributes.GEN_AI_SYSTEM_INSTRUCTIONS
TOOL_DEFINITIONS: Final = gen_ai_attributes.GEN_AI_TOOL_DEFINITIONS
# Those that the conventions define and the oldest supported release of their package does not name, or not so: what is
# written to a cache is called here as in opentelemetry-util-genai.
REQUEST_REASONING_LEVEL: Final = "gen_ai.request.reasoning.level"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_WRITE_INPUT_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
USAGE_REASONING_OUTPUT_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"

# --- events of the conventions ---
OPERATION_DETAILS: Final = "gen_ai.client.inference.operation.details"
EVALUATION_RESULT: Final = "gen_ai.evaluation.result"

# --- metrics of the conventions ---
CLIENT_OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
CLIENT_TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105 - a metric
CLIENT_TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
CLIENT_TIME_PER_OUTPUT_CHUNK: Final = "gen_ai.client.operation.time_per_output_chunk"

# --- operations ---
CHAT: Final = gen_ai_attributes.GenAiOperationNameValues.CHAT.value
EMBEDDINGS: Final = gen_ai_attributes.GenAiOperationNameValues.EMBEDDINGS.value
# The conventions name none of these.
RERANK: Final = "rerank"
SPEECH_TO_TEXT: Final = "speech_to_text"
TEXT_TO_SPEECH: Final = "text_to_speech"

# --- attributes of our own ---
# Also the name of the counter.
ATTEMPTS: Final = "ai_lib.attempts"
BUSY_TIME: Final = "ai_lib.busy_time"
# Also the name of the gauge.
CIRCUIT_BREAKER_STATE: Final = "ai_lib.circuit_breaker.state"
BATCH_CONCURRENCY: Final = "ai_lib.batch.concurrency"
BATCH_FAILED: Final = "ai_lib.batch.failed"
BATCH_SIZE: Final = "ai_lib.batch.size"
# Also the name of the counter.
COST: Final = "ai_lib.cost"
DOCUMENT_COUNT: Final = "ai_lib.document.count"
RESULT_COUNT: Final = "ai_lib.result.count"
FALLBACK_COUNT: Final = "ai_lib.fallback.count"
FALLBACK_MODEL: Final = "ai_lib.fallback.model"
PROTOCOL_SOURCE: Final = "ai_lib.protocol.source"
PROTOCOL_VERSION: Final = "ai_lib.protocol.version"
PROVIDER_ID: Final = "ai_lib.provider.id"
PROVIDER_REQUEST_ID: Final = "ai_lib.provider.request_id"
REQUEST_ID: Final = "ai_lib.request.id"
RESILIENCE_WAIT: Final = "ai_lib.resilience.wait"
STAGE: Final = "ai_lib.stage"
STREAM_BYTES: Final = "ai_lib.stream.bytes"
STREAM_EVENTS: Final = "ai_lib.stream.events"
# Also the name of the counter of frames.
STREAM_FRAMES: Final = "ai_lib.stream.frames"
STREAM_OUTCOME: Final = "ai_lib.stream.outcome"

# --- loggers ---
LOGGER: Final = "ai_lib"
LOGGER_REQUEST: Final = f"{LOGGER}.request"
LOGGER_RESILIENCE: Final = f"{LOGGER}.resilience"
LOGGER_STREAM: Final = f"{LOGGER}.stream"
LOGGER_PROTOCOL: Final = f"{LOGGER}.protocol"
LOGGER_PIPELINE: Final = f"{LOGGER}.pipeline"
LOGGER_FRAME: Final = f"{LOGGER}.frame"

# --- fields of log records besides those attributes ---
TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"
FRAME_CONTENT: Final = "ai_lib.frame.content"
FRAME_EVENTS: Final = "ai_lib.frame.events"
FRAME_INDEX: Final = "ai_lib.frame.index"
FRAME_PATH: Final = "ai_lib.frame.path"
FRAME_RESULT: Final = "ai_lib.frame.result"
FRAME_RULE: Final = "ai_lib.frame.rule"
FRAME_SIZE: Final = "ai_lib.frame.size"

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
RETRIES: Final = "ai_lib.retries"
RETRY_DELAY: Final = "ai_lib.retry.delay"
FALLBACKS: Final = "ai_lib.fallbacks"
CIRCUIT_BREAKER_TRANSITIONS: Final = "ai_lib.circuit_breaker.transitions"
CIRCUIT_BREAKER_REJECTIONS: Final = "ai_lib.circuit_breaker.rejections"
RATE_LIMITER_AVAILABLE: Final = "ai_lib.rate_limiter.available"
RATE_LIMITER_WAIT: Final = "ai_lib.rate_limiter.wait"
BACKPRESSURE_IN_FLIGHT: Final = "ai_lib.backpressure.in_flight"
BACKPRESSURE_LIMIT: Final = "ai_lib.backpressure.limit"
BACKPRESSURE_WAIT: Final = "ai_lib.backpressure.wait"
PROVIDER_HEALTH: Final = "ai_lib.provider.health"
FEEDBACK: Final = "ai_lib.feedback"
FEEDBACK_SCORE: Final = "ai_lib.feedback.score"

# --- labels of the metrics ---
LABEL_PROVIDER: Final = "provider"
LABEL_MODEL: Final = "model"
LABEL_OPERATION: Final = "operation"
LABEL_STAGE: Final = "stage"
LABEL_TYPE: Final = "type"
LABEL_OUTCOME: Final = "outcome"
LABEL_RESULT: Final = "result"
LABEL_KIND: Final = "kind"
LABEL_FROM: Final = "from"
LABEL_TO: Final = "to"
LABEL_EXECUTOR: Final = "executor"
LABEL_STATE: Final = "state"
LABEL_STATUS: Final = "status"

# --- events of the operation span, and their attributes besides error.type and the labels above ---
RETRY_EVENT: Final = "ai_lib.retry"
FALLBACK_EVENT: Final = "ai_lib.fallback"
EVENT_ATTEMPT: Final = "attempt"
EVENT_DELAY: Final = "delay"

# --- kinds of attempts ---
INITIAL: Final = "initial"
RETRY: Final = "retry"
FALLBACK: Final = "fallback"
OK: Final = "ok"

# --- stages, in the order of a request; the span of each is called ai_lib.<stage> ---
PROTOCOL_LOAD: Final = "protocol.load"
REQUEST_COMPILE: Final = "request.compile"
HTTP_TRANSPORT: Final = "http.transport"
PIPELINE_PROCESS: Final = "pipeline.process"
EVENT_MAP: Final = "event.map"
STAGES: Final = (PROTOCOL_LOAD, REQUEST_COMPILE, HTTP_TRANSPORT, PIPELINE_PROCESS, EVENT_MAP)
SPAN_NAMES: Final = {stage: f"ai_lib.{stage}" for stage in STAGES}
# The span around the calls that the runtime makes of a batch.
BATCH: Final = "ai_lib.batch"
# Where a call can fail besides its stages.
CLIENT: Final = "client"
RESILIENCE: Final = "resilience"

# --- statuses of providers, as the runtime names them ---
HEALTHY: Final = "healthy"
DEGRADED: Final = "degraded"
UNHEALTHY: Final = "unhealthy"
UNKNOWN: Final = "unknown"
HEALTH_STATUSES: Final = (HEALTHY, DEGRADED, UNHEALTHY, UNKNOWN)

# --- outcomes of streams ---
COMPLETED: Final = "completed"
ABANDONED: Final = "abandoned"
CANCELLED: Final = "cancelled"
ERROR: Final = "error"
TRUNCATED: Final = "truncated"
EMPTY: Final = "empty"

# --- what becomes of a stream's frames ---
MAPPED: Final = "mapped"
UNMAPPED: Final = "unmapped"
FILTERED: Final = "filtered"

# --- what made a call fail, besides the classes of exceptions ---
CIRCUIT_OPEN: Final = "circuit_open"
BACKPRESSURE: Final = "backpressure"
TIMEOUT: Final = "timeout"
STREAM_ERROR: Final = "stream_error"
# The runtime's classes of errors.
ERROR_CLASSES: Final = (
    "invalid_request",
    "authentication",
    "permission_denied",
    "not_found",
    "quota_exhausted",
    "rate_limited",
    "request_too_large",
    TIMEOUT,
    "conflict",
    CANCELLED,
    "server_error",
    "overloaded",
    "other",
)
# What the conventions say where a type exists and is not known.
OTHER: Final = "_OTHER"
