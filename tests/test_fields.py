"""What requests, responses and frames say: exact fields of what is known, and nothing bad of anything else."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from ai_lib_python.client import ChatResponse
from ai_lib_python.client.builder import ChatRequestBuilder
from hypothesis import example, given

from opentelemetry_instrumentation_ailib.fields import (
    Answer,
    frame_answer,
    frame_report,
    request_attributes,
    response_answer,
)
from opentelemetry_instrumentation_ailib.usage import Usage
from reports import ANTHROPIC, GEMINI, HUGE, JSON, OBJECTS, OPENAI, check_count


def builder() -> ChatRequestBuilder:
    """A request of no client: building it sends nothing."""
    return ChatRequestBuilder(None)  # type: ignore[arg-type]


# --- requests ---


def test_a_bare_request_has_no_fields() -> None:
    assert list(request_attributes(builder().user("Hello"))) == []


def test_a_request_has_the_fields_that_the_builder_set() -> None:
    request = builder().system("Be brief").user("Hello").temperature(0.0).top_p(1).max_tokens(64).stop(["END", "\n"])
    assert dict(request_attributes(request)) == {
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.top_p": 1,
        "gen_ai.request.max_tokens": 64,
        "gen_ai.request.stop_sequences": ["END", "\n"],
    }


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("temperature", 0.5, {"gen_ai.request.temperature": 0.5}),
        ("top_p", 0.9, {"gen_ai.request.top_p": 0.9}),
        ("top_k", 40, {"gen_ai.request.top_k": 40}),
        ("max_tokens", 10, {"gen_ai.request.max_tokens": 10}),
        ("max_tokens", 10.0, {"gen_ai.request.max_tokens": 10}),
        ("max_completion_tokens", 10, {"gen_ai.request.max_tokens": 10}),
        ("max_output_tokens", 10, {"gen_ai.request.max_tokens": 10}),
        ("frequency_penalty", -1.5, {"gen_ai.request.frequency_penalty": -1.5}),
        ("presence_penalty", 2, {"gen_ai.request.presence_penalty": 2}),
        ("seed", 7, {"gen_ai.request.seed": 7}),
        ("seed", -7, {"gen_ai.request.seed": -7}),
        ("top_k", -1, {"gen_ai.request.top_k": -1}),
        ("stop", "END", {"gen_ai.request.stop_sequences": ["END"]}),
        ("stop", ("A", "B"), {"gen_ai.request.stop_sequences": ["A", "B"]}),
        ("stop", ["A", 7, None, "", "B"], {"gen_ai.request.stop_sequences": ["A", "B"]}),
        ("stop", ["x"] * 100, {"gen_ai.request.stop_sequences": ["x"] * 64}),
        ("stop_sequences", ["END"], {"gen_ai.request.stop_sequences": ["END"]}),
        ("n", 2, {"gen_ai.request.choice.count": 2}),
        ("reasoning_effort", "high", {"gen_ai.request.reasoning.level": "high"}),
        ("response_format", {"type": "json_object"}, {"gen_ai.output.type": "json"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x"}}, {"gen_ai.output.type": "json"}),
        ("response_format", {"type": "text"}, {"gen_ai.output.type": "text"}),
        # Wrong types and shapes yield nothing.
        ("temperature", "0.5", {}),
        ("temperature", True, {}),
        ("temperature", math.nan, {}),
        ("temperature", math.inf, {}),
        pytest.param("temperature", 10**400, {}, id="no-float-is-as-big"),
        pytest.param("temperature", HUGE, {}, id="no-attribute-is-as-big"),
        ("top_k", 1.5, {}),
        ("max_tokens", -1, {}),
        ("max_tokens", HUGE, {}),
        ("max_tokens", None, {}),
        ("stop", [], {}),
        ("stop", "", {}),
        ("stop", {"a": 1}, {}),
        ("reasoning_effort", {"effort": "high"}, {}),
        ("response_format", "json_object", {}),
        ("response_format", {"type": "grammar"}, {}),
        ("response_format", {"type": ["json_object"]}, {}),
        ("response_format", {}, {}),
        # The allow-list: extras that the conventions do not name are never copied.
        ("api_key", "sk-secret", {}),
        ("user", "someone@example.org", {}),
        ("metadata", {"temperature": 1}, {}),
        ("messages", [{"role": "user", "content": "secret"}], {}),
        ("tools", [{"name": "t"}], {}),
    ],
)
def test_an_extra_parameter_is_a_field_only_if_the_conventions_name_it(
    name: str, value: Any, expected: dict[str, Any]
) -> None:
    assert dict(request_attributes(builder().param(name, value))) == expected


def test_an_extra_parameter_wins_over_the_builders_own() -> None:
    request = builder().temperature(0.1).max_tokens(1).param("temperature", 0.9).param("max_completion_tokens", 2)
    assert dict(request_attributes(request)) == {"gen_ai.request.temperature": 0.9, "gen_ai.request.max_tokens": 2}


def test_an_extra_parameter_of_null_removes_the_builders_own() -> None:
    assert dict(request_attributes(builder().temperature(0.1).param("temperature", None))) == {}


@pytest.mark.parametrize("request_like", [None, object(), 7, SimpleNamespace(_extra_params=[1]), builder().param])
def test_what_is_no_request_has_no_fields(request_like: Any) -> None:
    assert list(request_attributes(request_like)) == []


# --- responses ---


def test_a_response_in_openais_shape() -> None:
    body = {
        "id": "chatcmpl-1",
        "model": "gpt-4o-2024-08-06",
        "choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}],
        "usage": OPENAI,
    }
    response = ChatResponse("Hello", finish_reason="stop", usage=OPENAI, model="gpt-4o-2024-08-06", raw_response=body)
    assert response_answer(response) == Answer(
        id="chatcmpl-1",
        model="gpt-4o-2024-08-06",
        finish_reasons=("stop", "length"),
        usage=Usage(12, 5, cache_read=8, reasoning=3),
    )


def test_a_response_in_anthropics_shape() -> None:
    body = {"id": "msg_1", "model": "claude-x", "stop_reason": "end_turn", "usage": ANTHROPIC}
    response = ChatResponse("Hello", finish_reason="end_turn", usage=ANTHROPIC, model="claude-x", raw_response=body)
    assert response_answer(response) == Answer(
        id="msg_1",
        model="claude-x",
        finish_reasons=("end_turn",),
        usage=Usage(130, 5, cache_read=100, cache_write=20),
    )


def test_a_response_in_geminis_shape_of_which_the_runtime_read_nothing() -> None:
    body = {"responseId": "r-1", "modelVersion": "gemini-x", "usageMetadata": GEMINI}
    assert response_answer(ChatResponse(raw_response=body)) == Answer(
        id="r-1", model="gemini-x", usage=Usage(12, 35, cache_read=8, reasoning=30)
    )


def test_the_usage_that_the_manifest_pointed_at_comes_first() -> None:
    response = ChatResponse(usage={"prompt_tokens": 1}, raw_response={"usage": {"prompt_tokens": 2}})
    assert response_answer(response) == Answer(usage=Usage(input=1))


@pytest.mark.parametrize("choices", [None, "stop", {"finish_reason": "x"}, [], [None, 7], [{"finish_reason": None}]])
def test_the_runtimes_finish_reason_stands_in_for_choices_without_one(choices: Any) -> None:
    response = ChatResponse(finish_reason="stop", raw_response={"choices": choices})
    assert response_answer(response) == Answer(finish_reasons=("stop",))


def test_finish_reasons_are_bounded() -> None:
    response = ChatResponse(raw_response={"choices": [{"finish_reason": "x" * 300}] * 100})
    assert response_answer(response).finish_reasons == ("x" * 256,) * 64


@pytest.mark.parametrize("response", [None, object(), ChatResponse(), ChatResponse(raw_response=[1]), "text"])  # type: ignore[arg-type]
def test_an_empty_response_says_nothing(response: Any) -> None:
    assert response_answer(response) == Answer()


# --- frames ---


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(
            {"id": "chatcmpl-1", "model": "gpt-x", "choices": [], "usage": None},
            Answer(id="chatcmpl-1", model="gpt-x"),
            id="openai",
        ),
        pytest.param(
            {"type": "message_start", "message": {"id": "msg_1", "model": "claude-x", "usage": ANTHROPIC}},
            Answer(id="msg_1", model="claude-x"),
            id="anthropic",
        ),
        pytest.param(
            {"responseId": "r-1", "modelVersion": "gemini-x", "usageMetadata": {"promptTokenCount": 12}},
            Answer(id="r-1", model="gemini-x"),
            id="gemini",
        ),
        pytest.param({"message": "hello", "id": "x"}, Answer(id="x"), id="message-is-text"),
        pytest.param({"id": 7, "model": ["m"], "usage": "many"}, Answer(), id="wrong-types"),
        pytest.param(None, Answer(), id="null"),
        pytest.param([{"id": "x"}], Answer(), id="list"),
        pytest.param("[DONE]", Answer(), id="text"),
    ],
)
def test_the_first_frame_names_the_response(frame: Any, expected: Answer) -> None:
    assert frame_answer(frame) == expected


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param({"choices": [], "usage": OPENAI}, Usage(12, 5, cache_read=8, reasoning=3), id="openai"),
        pytest.param({"message": {"usage": ANTHROPIC}}, Usage(130, 5, cache_read=100, cache_write=20), id="anthropic"),
        pytest.param({"usageMetadata": {"promptTokenCount": 12}}, Usage(input=12), id="gemini"),
        pytest.param({"message": "hello", "usage": {"prompt_tokens": 12}}, Usage(input=12), id="message-is-text"),
        pytest.param({"usage": "many"}, Usage(), id="wrong-type"),
        pytest.param({}, Usage(), id="nothing"),
        pytest.param(None, Usage(), id="null"),
        pytest.param([{"usage": OPENAI}], Usage(), id="list"),
    ],
)
def test_the_first_frame_may_report_tokens(frame: Any, expected: Usage) -> None:
    assert frame_report(frame).usage == expected


# --- anything at all ---


def check_text(value: Any) -> None:
    if value is not None:
        assert type(value) is str
        assert 0 < len(value) <= 256
        value.encode("utf-8")


def check_answer(found: Answer) -> None:
    check_text(found.id)
    check_text(found.model)
    assert type(found.finish_reasons) is tuple
    assert len(found.finish_reasons) <= 64
    for reason in found.finish_reasons:
        assert reason
        check_text(reason)
    for count in found.usage:
        check_count(count)


@given(OBJECTS | JSON)
def test_any_frame_yields_an_answer(frame: Any) -> None:
    check_answer(frame_answer(frame))
    for count in frame_report(frame).usage:
        check_count(count)


@given(OBJECTS | JSON, JSON, JSON, OBJECTS | JSON)
def test_any_response_yields_an_answer(body: Any, model: Any, reason: Any, report: Any) -> None:
    check_answer(response_answer(ChatResponse(finish_reason=reason, usage=report, model=model, raw_response=body)))


@given(OBJECTS, JSON, JSON, JSON, JSON)
@example({"response_format": {"type": ["json_object"]}}, None, None, None, None)
def test_any_request_yields_fields_that_attributes_can_carry(
    extra: dict[str, Any], temperature: Any, top_p: Any, max_tokens: Any, stop: Any
) -> None:
    request = builder().temperature(temperature).top_p(top_p).max_tokens(max_tokens).stop(stop)
    for name, value in extra.items():
        request.param(name, value)
    attributes: dict[str, Any] = dict(request_attributes(request))
    for field, value in attributes.items():
        field = field.removeprefix("gen_ai.").removeprefix("request.")
        if field in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
            assert type(value) in (int, float)
            assert math.isfinite(value)
            assert type(value) is float or -(2**63) <= value < 2**63
        elif field in ("top_k", "seed"):
            assert type(value) is int
            check_count(abs(value))
        elif field in ("max_tokens", "choice.count"):
            assert type(value) is int
            check_count(value)
        elif field == "stop_sequences":
            assert 0 < len(value) <= 64
            for sequence in value:
                assert sequence
                check_text(sequence)
        else:
            assert field in ("reasoning.level", "output.type")
            check_text(value)
