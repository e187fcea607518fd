"""Names: who is asked, where, and what went wrong. Exact values, and any string at all."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
from enum import Enum
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from ai_lib_python.errors import (
    AiLibError,
    AiRuntimeError,
    ErrorClass,
    PipelineError,
    ProtocolError,
    RemoteError,
    TransportError,
    ValidationError,
)
from ai_lib_python.resilience.backpressure import BackpressureError
from ai_lib_python.resilience.circuit_breaker import CircuitOpenError
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry_instrumentation_ailib import naming, semconv

# Every string that Python can hold; json.loads makes lone surrogates, too.
ANY_TEXT = st.text(st.characters() | st.characters(categories=["Cs"]))


@pytest.mark.parametrize(
    ("provider_id", "name"),
    [
        ("anthropic", "anthropic"),
        ("azure", "azure.ai.openai"),
        ("azure-openai", "azure.ai.openai"),
        ("bedrock", "aws.bedrock"),
        ("cohere", "cohere"),
        ("deepseek", "deepseek"),
        ("gemini", "gcp.gemini"),
        ("google", "gcp.gemini"),
        ("groq", "groq"),
        ("mistral", "mistral_ai"),
        ("moonshot", "moonshot_ai"),
        ("openai", "openai"),
        ("vertex", "gcp.vertex_ai"),
        ("vertex-ai", "gcp.vertex_ai"),
        ("watsonx", "ibm.watsonx.ai"),
        ("xai", "x_ai"),
        ("our-own", "our-own"),
        ("", ""),
    ],
)
def test_provider_name_is_the_conventions_value_or_the_id(provider_id: str, name: str) -> None:
    assert naming.provider_name(provider_id) == name


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/gpt-4o", "gpt-4o"),
        ("openrouter/org/m", "org/m"),
        ("gpt-4o", "gpt-4o"),
        ("openai/", "openai/"),
        ("/gpt-4o", "gpt-4o"),
        ("", ""),
    ],
)
def test_model_name_is_what_follows_the_first_slash(model: str, name: str) -> None:
    assert naming.model_name(model) == name


@given(ANY_TEXT)
def test_the_name_of_a_model_is_valid_utf_8(name: str) -> None:
    # The name of the span is made of it, and an OTLP exporter loses the whole batch over one that it cannot encode.
    naming.model_name(name).encode("utf-8")


def test_the_name_of_a_model_is_bounded() -> None:
    assert naming.model_name("openai/" + "x" * 1000) == "x" * 256


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.openai.example/v1", ("api.openai.example", 443)),
        ("http://api.openai.example/v1", ("api.openai.example", 80)),
        ("http://127.0.0.1:8123/v1", ("127.0.0.1", 8123)),
        ("https://[::1]:8443", ("::1", 8443)),
        ("https://API.Example:0/", ("api.example", 0)),
        ("https://user:password@api.example/v1?key=secret", ("api.example", 443)),
        ("http://user:[pass]@api.example:8000/v1", ("api.example", 8000)),
        ("http://user:pa[ss@[::1]/v1", ("::1", 80)),
        ("unix://socket", ("socket", None)),
        ("localhost:8000", (None, None)),
        ("/v1", (None, None)),
        ("http://api.example:port", (None, None)),
        ("http://api.example:99999", (None, None)),
        ("http://[::1", (None, None)),
        ("", (None, None)),
    ],
)
def test_server_is_the_address_and_port_that_the_url_says(
    base_url: str, expected: tuple[str | None, int | None]
) -> None:
    assert naming.server(base_url) == expected


@pytest.mark.parametrize(
    ("base_url", "path", "expected"),
    [
        ("https://api.example/v1", "/chat/completions", "/v1/chat/completions"),
        ("https://api.example/v1/", "chat/completions", "/v1/chat/completions"),
        ("https://api.example", "/chat", "/chat"),
        ("https://api.example/v1", "", "/v1/"),
        ("https://api.example/v1?key=secret", "/models/m:generate?key=secret#part", "/v1/models/m:generate"),
        ("https://api.example/v1", "https://other.example/v2/chat?key=secret", "/v2/chat"),
        ("https://api.example/v1", "https://other.example?key=secret", "/"),
        ("http://[::1", "/chat", "/"),
        ("https://api.example/v1", "http://[::1/chat", "/"),
        ("https://user:[pass]@api.example/v1", "/chat", "/v1/chat"),
        ("https://user:pa[ss@api.example/v1@2", "/chat", "/v1@2/chat"),
    ],
)
def test_url_path_is_the_path_that_httpx_asks_for_without_the_query(base_url: str, path: str, expected: str) -> None:
    assert naming.url_path(base_url, path) == expected


@pytest.mark.parametrize("path", ["/chat", "chat", "", "https://other.example/v2/chat", "models/m:generate"])
@pytest.mark.parametrize("base_url", ["https://api.example", "https://api.example/v1", "https://api.example/v1/"])
def test_url_path_agrees_with_httpx(base_url: str, path: str) -> None:
    request = httpx.Client(base_url=base_url).build_request("POST", path)
    assert naming.url_path(base_url, path) == request.url.path


@given(ANY_TEXT, ANY_TEXT)
def test_no_url_makes_a_name_fail(base_url: str, path: str) -> None:
    address, port = naming.server(base_url)
    assert address is None or address
    assert port is None or 0 <= port <= 65535
    assert "?" not in naming.url_path(base_url, path)


def remote(error_class: ErrorClass) -> RemoteError:
    return RemoteError("no", status_code=400, error_class=error_class)


@pytest.mark.parametrize("error_class", list(ErrorClass))
def test_a_remote_error_has_the_type_of_its_error_class(error_class: ErrorClass) -> None:
    assert naming.failure_type(remote(error_class)) == error_class.value


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


class Custom(Exception):  # noqa: N818
    """An exception of the application's."""


class Late(TimeoutError):  # noqa: N818
    """A timeout of the application's."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CircuitOpenError(), "circuit_open"),
        (BackpressureError(), "backpressure"),
        # The runtime's back-pressure turns a timeout into its own error.
        (caused(BackpressureError(), asyncio.TimeoutError()), "backpressure"),
        (httpx.ReadTimeout("slow"), "timeout"),
        (TransportError("slow", cause=httpx.ConnectTimeout("slow")), "timeout"),
        (TransportError("slow", cause=httpx.ReadTimeout("slow")), "timeout"),
        (TransportError("slow", cause=httpx.WriteTimeout("slow")), "timeout"),
        (TransportError("slow", cause=httpx.PoolTimeout("slow")), "timeout"),
        (TimeoutError(), "timeout"),
        (asyncio.TimeoutError(), "timeout"),
        (concurrent.futures.TimeoutError(), "timeout"),
        (Late(), "timeout"),
        (asyncio.CancelledError(), "cancelled"),
        (concurrent.futures.CancelledError(), "cancelled"),
        (TransportError("no", cause=httpx.ConnectError("no")), "ai_lib_python.errors.base.TransportError"),
        (TransportError("no"), "ai_lib_python.errors.base.TransportError"),
        (ProtocolError("no"), "ai_lib_python.errors.base.ProtocolError"),
        (PipelineError("no"), "ai_lib_python.errors.base.PipelineError"),
        (ValidationError("no"), "ai_lib_python.errors.base.ValidationError"),
        (json.JSONDecodeError("no", "<html>", 0), "json.decoder.JSONDecodeError"),
        (AttributeError("no"), "AttributeError"),
        (ConnectionResetError("no"), "ConnectionResetError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(1), "SystemExit"),
        (Custom("sk-secret"), f"{__name__}.Custom"),
        ("stream_error", "stream_error"),
        (GeneratorExit(), "cancelled"),
        (None, None),
    ],
)
def test_failure_type_is_a_known_type_or_the_name_of_the_class(error: BaseException | str | None, kind: str) -> None:
    assert naming.failure_type(error) == kind


def classified(error_class: object) -> Custom:
    error = Custom()
    error.error_class = error_class  # type: ignore[attr-defined]
    return error


def enumerated(value: object) -> Custom:
    enumeration: Any = Enum
    return classified(enumeration("Refusal", {"POLICY": value}).POLICY)


def named(name: str) -> BaseException:
    error: BaseException = type("Made", (Exception,), {"__module__": "made", "__qualname__": name})()
    return error


@pytest.mark.parametrize("error_class", [None, "quota", 7, SimpleNamespace(value=7), SimpleNamespace(value="No, sir!")])
def test_an_error_class_that_is_no_enumeration_member_is_not_believed(error_class: object) -> None:
    assert naming.failure_type(classified(error_class)) == f"{__name__}.Custom"


@pytest.mark.parametrize(
    ("value", "kind"), [("policy", "policy"), ("", f"{__name__}.Custom"), (7, f"{__name__}.Custom")]
)
def test_a_member_of_any_enumeration_is_a_type_by_its_value_if_that_is_a_name(value: object, kind: str) -> None:
    assert naming.failure_type(enumerated(value)) == kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (enumerated("x" * 100_000), "x" * 256),
        (enumerated("a\ud800b"), "a?b"),
        (named("x" * 100_000), f"made.{'x' * 251}"),
        (named("a\ud800b"), "made.a?b"),
    ],
    ids=["a long value", "a value that is no text", "a long name", "a name that is no text"],
)
def test_an_error_type_is_bounded_and_valid_utf_8(error: BaseException, kind: str) -> None:
    assert naming.failure_type(error) == kind


@pytest.mark.parametrize("error_class", list(ErrorClass))
def test_the_types_of_remote_errors_are_known(error_class: ErrorClass) -> None:
    assert naming.failure_type(remote(error_class)) in naming.KNOWN_TYPES


@pytest.mark.parametrize(
    "error",
    [
        CircuitOpenError(),
        BackpressureError(),
        TimeoutError(),
        asyncio.CancelledError(),
        AiLibError("no"),
        AiRuntimeError("no"),
        PipelineError("no"),
        ProtocolError("no"),
        TransportError("no"),
        ValidationError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_types_of_the_runtimes_other_errors_are_known(error: BaseException) -> None:
    assert naming.failure_type(error) in naming.KNOWN_TYPES


@pytest.mark.parametrize(
    ("kind", "current", "stage"),
    [
        ("circuit_open", "client", "resilience"),
        ("backpressure", "http.transport", "resilience"),
        ("timeout", "http.transport", "http.transport"),
        ("ValueError", "request.compile", "request.compile"),
        ("ValueError", "client", "client"),
    ],
)
def test_an_error_counts_where_the_call_stood_unless_resilience_refused_it(kind: str, current: str, stage: str) -> None:
    assert naming.error_stage(kind, current) == stage


def test_every_stage_names_its_span() -> None:
    assert semconv.SPAN_NAMES == {
        "protocol.load": "ai_lib.protocol.load",
        "request.compile": "ai_lib.request.compile",
        "http.transport": "ai_lib.http.transport",
        "pipeline.process": "ai_lib.pipeline.process",
        "event.map": "ai_lib.event.map",
    }
    assert tuple(semconv.SPAN_NAMES) == semconv.STAGES


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gpt-4o", "gpt-4o"),
        ("模型 é", "模型 é"),
        ("a\ud800b", "a?b"),
        ("\U0001f600", "\U0001f600"),
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 256),
        ("é" * 300, "é" * 256),
        ("", None),
        (None, None),
        (7, None),
        (True, None),
        (b"bytes", None),
        (["a"], None),
        ({"a": "b"}, None),
    ],
)
def test_text_is_what_an_attribute_can_carry_or_nothing(value: object, expected: str | None) -> None:
    assert naming.text(value) == expected


def test_text_of_an_enumeration_of_strings_is_a_plain_string() -> None:
    assert type(naming.text(ErrorClass.TIMEOUT)) is str


@given(ANY_TEXT, st.integers(0, 40))
def test_bounded_is_a_valid_beginning(value: str, length: int) -> None:
    result = naming.bounded(value, length)
    assert len(result) == min(len(value), length)
    result.encode("utf-8")
    assert all(ours == theirs or ours == "?" for ours, theirs in zip(result, value, strict=False))


@pytest.mark.parametrize("cause", [TimeoutError(), asyncio.CancelledError()])
def test_the_cause_of_an_applications_own_error_is_not_its_type(cause: BaseException) -> None:
    error = ValueError("no answer")
    error.__cause__ = cause
    assert naming.failure_type(error) == "ValueError"
