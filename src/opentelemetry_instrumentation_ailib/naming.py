"""Who and what the names are about, as the conventions call it: providers, models, servers, errors."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import semconv

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
    "CircuitOpenError": semconv.CIRCUIT_OPEN,
    "BackpressureError": semconv.BACKPRESSURE,
    "TimeoutException": semconv.TIMEOUT,
    "TimeoutError": semconv.TIMEOUT,
    "CancelledError": semconv.CANCELLED,
    "GeneratorExit": semconv.CANCELLED,  # A call that is closed on its way has no answer, and nobody else to say so.
}
_RESILIENCE_TYPES: Final = frozenset({semconv.CIRCUIT_OPEN, semconv.BACKPRESSURE})
_RUNTIME_ERRORS: Final = (
    "AiLibError",
    "PipelineError",
    "ProtocolError",
    "RuntimeError",
    "TransportError",
    "ValidationError",
)
KNOWN_TYPES: Final = frozenset(
    {
        *semconv.ERROR_CLASSES,
        *_ERROR_TYPES.values(),
        *(f"ai_lib_python.errors.base.{name}" for name in _RUNTIME_ERRORS),
        semconv.STREAM_ERROR,
        semconv.OTHER,
    }
)
"""The error types that the runtime and we have names for. Of others there may be any number."""

_MAX_TEXT: Final = 256
USER: Final = re.compile("//([^/?#]*)@")
"""User and password in a URL."""


def provider_name(provider_id: str) -> str:
    """Return ``gen_ai.provider.name`` for a manifest's id: the conventions' value where there is one, else the id."""
    return _PROVIDER_NAMES.get(provider_id) or bounded(provider_id, _MAX_TEXT)


@lru_cache(maxsize=256)
def model_name(model: str) -> str:
    """Return what follows the first ``/`` of a model string: ``openai/gpt-4o`` is ``gpt-4o``."""
    return bounded(model.partition("/")[2] or model, _MAX_TEXT)


def _split(url: str) -> SplitResult:
    # Without user and password, in which it would take brackets for those of an IPv6 address.
    return urlsplit(USER.sub("//", url, count=1))


@lru_cache(maxsize=256)
def server(base_url: str) -> tuple[str | None, int | None]:
    """Return the address and port behind a base URL, ``None`` for what it does not say."""
    try:
        url = _split(base_url)
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
            return _split(path).path or "/"
        return f"{_split(base_url).path.rstrip('/')}/{urlsplit(path).path.lstrip('/')}"
    except ValueError:
        return "/"


def identity(operation: str, provider_id: str, model: str, base_url: str) -> dict[str, AttributeValue]:
    """Return what the conventions want known of an operation from its start, on its span and on its metrics.

    Args:
        operation: ``gen_ai.operation.name``.
        provider_id: The manifest's id.
        model: The model without its provider.
        base_url: Where the requests go.
    """
    attributes: dict[str, AttributeValue] = {
        semconv.OPERATION_NAME: operation,
        semconv.PROVIDER_NAME: provider_name(provider_id),
        semconv.REQUEST_MODEL: model,
    }
    address, port = server(base_url)
    if address is not None:
        attributes[semconv.SERVER_ADDRESS] = address
    if port is not None:
        attributes[semconv.SERVER_PORT] = port
    return attributes


def failure_type(error: BaseException | str | None) -> str | None:
    """Return ``error.type``, or ``None`` where nothing failed.

    It is the runtime's class of the error, a well-known type, or the exception's class name; never a message.

    Args:
        error: An exception, or the type of an error that is none.
    """
    if error is None or isinstance(error, str):
        return error
    error_class = _error_class(error)
    if error_class is not None:
        return error_class
    # The runtime wraps httpx's timeouts in a TransportError like any other fault.
    cause = error.__cause__ if type(error).__name__ == "TransportError" else None
    for candidate in (error, cause):
        for base in type(candidate).__mro__:
            if base.__name__ in _ERROR_TYPES:
                return _ERROR_TYPES[base.__name__]
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    return bounded(name, _MAX_TEXT)


def _error_class(error: BaseException) -> str | None:
    try:
        # The values of an enumeration stand in a program; any other may be a message.
        member = getattr(error, "error_class", None)
        return text(member.value) if isinstance(member, Enum) else None
    except Exception:
        return None  # An exception of the user's own may raise another.


def error_stage(kind: str, current: str) -> str:
    """Return the stage that an error type counts for: where the call stood, unless the resilience layer refused it."""
    return semconv.RESILIENCE if kind in _RESILIENCE_TYPES else current


def text(value: Any) -> str | None:
    """Return a string from outside as an attribute can carry it: valid UTF-8, of bounded length."""
    if type(value) is str and len(value) <= _MAX_TEXT and value.isascii():
        return value or None  # As nearly all come.
    return bounded(value, _MAX_TEXT) if isinstance(value, str) and value else None


def bounded(value: str, length: int) -> str:
    """Cut a string to a length and replace what UTF-8 cannot encode, at which an OTLP exporter would fail."""
    value = value[:length]
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
