"""Where the messages of a call go: the mode, the event, the hook and their order."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord, NoOpLogger
from opentelemetry.context import Context
from opentelemetry.trace import Span, set_span_in_context
from opentelemetry.util.genai._invocation import get_content_attributes
from opentelemetry.util.genai.completion_hook import CompletionHook, load_completion_hook
from opentelemetry.util.genai.types import (
    BlobPart,
    ContentCapturingMode,
    FunctionToolDefinition,
    GenericToolDefinition,
    InputMessage,
    OutputMessage,
    TextPart,
    ToolCallRequestPart,
    ToolCallResponsePart,
    UriPart,
)

from opentelemetry_instrumentation_ailib import guard
from opentelemetry_instrumentation_ailib.content import Content, load_hook
from opentelemetry_instrumentation_ailib.messages import Conversation
from opentelemetry_instrumentation_ailib.parts import OmittedBlob
from recorder import Recorder

MODE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
MODES = ["NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"]

CONVERSATION = Conversation(
    inputs=[
        InputMessage("user", [TextPart("Weather?"), UriPart(None, "image", "https://h.example/a.png")]),
        InputMessage("assistant", [ToolCallRequestPart({"city": "Paris"}, "weather", "call_1")]),
        InputMessage("tool", [ToolCallResponsePart("rainy", "call_1")], name="weather"),
    ],
    outputs=[OutputMessage("assistant", [TextPart("It rains")], "stop")],
    system=[TextPart("Be brief")],
    tools=[FunctionToolDefinition("weather", "Tells it", {"type": "object"}), GenericToolDefinition("search", "web")],
)
INPUTS = [
    {
        "role": "user",
        "parts": [
            {"content": "Weather?", "type": "text"},
            {"mime_type": None, "modality": "image", "uri": "https://h.example/a.png", "type": "uri"},
        ],
        "name": None,
    },
    {
        "role": "assistant",
        "parts": [{"arguments": {"city": "Paris"}, "name": "weather", "id": "call_1", "type": "tool_call"}],
        "name": None,
    },
    {
        "role": "tool",
        "parts": [{"response": "rainy", "id": "call_1", "type": "tool_call_response"}],
        "name": "weather",
    },
]
OUTPUTS = [
    {"role": "assistant", "parts": [{"content": "It rains", "type": "text"}], "finish_reason": "stop", "name": None}
]
SYSTEM = [{"content": "Be brief", "type": "text"}]
TOOLS = [
    {"name": "weather", "description": "Tells it", "parameters": {"type": "object"}, "type": "function"},
    {"name": "search", "type": "web"},
]
MESSAGES = {
    "gen_ai.input.messages": INPUTS,
    "gen_ai.output.messages": OUTPUTS,
    "gen_ai.system_instructions": SYSTEM,
    "gen_ai.tool.definitions": TOOLS,
}


class Hook(CompletionHook):
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def on_completion(self, **kwargs: Any) -> None:
        self.calls.append(kwargs)


def content(
    mode: str, recorder: Recorder | None = None, hook: CompletionHook | None = None, emit_event: bool | None = None
) -> Content:
    logger = recorder.logger_provider.get_logger("test") if recorder else NoOpLogger("test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MODE, mode)
        return Content.read(completion_hook=hook, logger=logger, emit_event=emit_event)


def finish(captured: Content, recorder: Recorder, conversation: Conversation = CONVERSATION) -> Span:
    span = recorder.tracer_provider.get_tracer("test").start_span("chat gpt-4o")
    operation: Any = SimpleNamespace(span=span, context=set_span_in_context(span, Context()))
    captured.finish(operation, {"gen_ai.operation.name": "chat"}, conversation)
    return span


# --- the mode ---


@pytest.mark.parametrize("value", [None, "", " ", "NO_CONTENT", "no_content"])
def test_content_is_off_unless_asked_for(
    value: str | None, monkeypatch: pytest.MonkeyPatch, recorder: Recorder
) -> None:
    monkeypatch.delenv(MODE, raising=False)
    if value is not None:
        monkeypatch.setenv(MODE, value)
    captured = Content.read(completion_hook=None, logger=recorder.logger_provider.get_logger("test"), emit_event=None)
    assert (captured.mode, captured.wanted, captured.emits) == (ContentCapturingMode.NO_CONTENT, False, False)
    assert captured.span_attributes(CONVERSATION) == {}
    finish(captured, recorder)
    assert recorder.events() == []


@pytest.mark.noisy("opentelemetry")
def test_a_mode_that_does_not_exist_is_reported_and_off(caplog: pytest.LogCaptureFixture) -> None:
    assert not content("EVERYTHING").wanted
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert MODE in caplog.text


@pytest.mark.parametrize("mode", ["SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT", "span_only"])
def test_every_other_mode_wants_the_messages(mode: str) -> None:
    assert content(mode).wanted


@pytest.mark.parametrize("mode", MODES)
def test_a_hook_wants_the_messages_whatever_the_mode(mode: str) -> None:
    assert content(mode, hook=Hook()).wanted


def test_an_event_alone_wants_no_messages() -> None:
    captured = content("NO_CONTENT", emit_event=True)
    assert (captured.emits, captured.wanted) == (True, False)


@pytest.mark.parametrize(
    ("mode", "emit_event", "emits"),
    [
        ("NO_CONTENT", None, False),
        ("SPAN_ONLY", None, False),
        ("EVENT_ONLY", None, True),
        ("SPAN_AND_EVENT", None, True),
        ("NO_CONTENT", True, True),
        ("SPAN_ONLY", True, True),
        ("EVENT_ONLY", False, False),
        ("SPAN_AND_EVENT", False, False),
    ],
)
def test_events_are_emitted_by_the_mode_unless_said_otherwise(mode: str, emit_event: bool | None, emits: bool) -> None:
    assert content(mode, emit_event=emit_event).emits is emits


# --- on the span ---


@pytest.mark.parametrize("mode", ["SPAN_ONLY", "SPAN_AND_EVENT"])
def test_the_span_carries_the_messages_in_json(mode: str) -> None:
    attributes = content(mode).span_attributes(CONVERSATION)
    assert attributes == {key: json.dumps(value, separators=(",", ":")) for key, value in MESSAGES.items()}


@pytest.mark.parametrize("mode", ["NO_CONTENT", "EVENT_ONLY"])
def test_the_span_carries_no_messages_where_the_mode_does_not_say_so(mode: str) -> None:
    assert content(mode, hook=Hook(), emit_event=True).span_attributes(CONVERSATION) == {}


@pytest.mark.parametrize(
    ("conversation", "expected"),
    [
        (Conversation(), {}),
        (Conversation(system=[TextPart("é")]), {"gen_ai.system_instructions": '[{"content":"\\u00e9","type":"text"}]'}),
        (
            Conversation(inputs=[InputMessage("user", [OmittedBlob("image/png", "image", b"", size=5)])]),
            {
                "gen_ai.input.messages": '[{"role":"user","parts":[{"mime_type":"image/png","modality":"image",'
                '"content":"","type":"blob","size":5}],"name":null}]'
            },
        ),
    ],
)
def test_what_was_not_said_is_no_attribute(conversation: Conversation, expected: dict[str, str]) -> None:
    assert content("SPAN_ONLY").span_attributes(conversation) == expected


@pytest.mark.parametrize("mode", MODES)
def test_span_and_event_carry_what_those_of_the_genai_utilities_do(mode: str, recorder: Recorder) -> None:
    blob = InputMessage(
        "user", [BlobPart("image/png", "image", b"hello"), OmittedBlob("audio/wav", "audio", b"", size=9)]
    )
    conversation = Conversation(
        [*CONVERSATION.inputs, blob], CONVERSATION.outputs, CONVERSATION.system, CONVERSATION.tools
    )
    of_span, of_event = (
        get_content_attributes(
            input_messages=conversation.inputs,
            output_messages=conversation.outputs,
            system_instruction=conversation.system,
            tool_definitions=conversation.tools,
            for_span=for_span,
            content_capturing_mode=ContentCapturingMode[mode],
        )
        for for_span in (True, False)
    )
    records = []

    class Noting(CompletionHook):
        def on_completion(self, *, log_record: Any = None, **_: Any) -> None:
            records.append(dict(log_record.attributes))  # The SDK makes tuples of the lists when it is emitted.

    captured = content(mode, recorder, Noting(), emit_event=True)
    finish(captured, recorder, conversation)
    assert captured.span_attributes(conversation) == of_span
    assert records == [{"gen_ai.operation.name": "chat", **of_event}]


# --- the event ---


@pytest.mark.parametrize("mode", ["EVENT_ONLY", "SPAN_AND_EVENT"])
def test_the_event_carries_attributes_and_messages_in_the_trace_of_the_call(mode: str, recorder: Recorder) -> None:
    span = finish(content(mode, recorder), recorder)
    (event,) = recorder.events()
    assert event.event_name == "gen_ai.client.inference.operation.details"
    assert json.loads(json.dumps(dict(event.attributes))) == {"gen_ai.operation.name": "chat", **MESSAGES}
    assert (event.trace_id, event.span_id) == (span.get_span_context().trace_id, span.get_span_context().span_id)
    assert event.body is None


@pytest.mark.parametrize("mode", ["NO_CONTENT", "SPAN_ONLY"])
def test_the_event_carries_no_messages_where_the_mode_does_not_say_so(mode: str, recorder: Recorder) -> None:
    finish(content(mode, recorder, emit_event=True), recorder)
    (event,) = recorder.events()
    assert dict(event.attributes) == {"gen_ai.operation.name": "chat"}


def test_the_attributes_given_are_left_as_they_are(recorder: Recorder) -> None:
    attributes = {"gen_ai.operation.name": "chat"}
    operation: Any = SimpleNamespace(span=trace.INVALID_SPAN, context=Context())
    content("EVENT_ONLY", recorder).finish(operation, attributes, CONVERSATION)
    assert attributes == {"gen_ai.operation.name": "chat"}
    assert len(recorder.events()) == 1


# --- the hook ---


@pytest.mark.parametrize("mode", MODES)
def test_the_hook_gets_the_messages_the_span_and_the_event_to_come(mode: str, recorder: Recorder) -> None:
    hook = Hook()
    span = finish(content(mode, recorder, hook), recorder)
    (call,) = hook.calls
    record = call.pop("log_record")
    assert call == {
        "inputs": CONVERSATION.inputs,
        "outputs": CONVERSATION.outputs,
        "system_instruction": CONVERSATION.system,
        "tool_definitions": CONVERSATION.tools,
        "span": span,
    }
    assert isinstance(record, LogRecord) is (mode in ("EVENT_ONLY", "SPAN_AND_EVENT"))


def test_a_hook_without_tools_gets_none(recorder: Recorder) -> None:
    hook = Hook()
    finish(content("NO_CONTENT", recorder, hook), recorder, Conversation())
    (call,) = hook.calls
    call.pop("span")
    assert call == {
        "inputs": [],
        "outputs": [],
        "system_instruction": [],
        "tool_definitions": None,
        "log_record": None,
    }


def test_a_hook_may_put_references_on_span_and_event(recorder: Recorder) -> None:
    class Upload(CompletionHook):
        def on_completion(self, *, span: Any = None, log_record: Any = None, **_: Any) -> None:
            span.set_attribute("reference", "s3://b/1")
            log_record.attributes = {**(log_record.attributes or {}), "reference": "s3://b/1"}

    span = finish(content("EVENT_ONLY", recorder, Upload()), recorder)
    span.end()
    (event,) = recorder.events()
    assert event.attributes["reference"] == "s3://b/1"
    assert dict(recorder.span("chat gpt-4o").attributes or {}) == {"reference": "s3://b/1"}


def test_a_fault_of_the_hook_is_reported_once_and_the_event_emitted(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(CompletionHook):
        def on_completion(self, **_: Any) -> None:
            raise RuntimeError("no bucket")

    faults: list[tuple[str, bool]] = []
    monkeypatch.setattr(guard, "report_fault", lambda site, *_, first: faults.append((site, first)))
    captured = content("EVENT_ONLY", recorder, Broken())
    for _ in range(3):
        finish(captured, recorder)
    assert len(recorder.events()) == 3
    # Another test may have been the first.
    assert {site for site, _ in faults} == {"opentelemetry_instrumentation_ailib.content._call_hook"}
    assert [first for _, first in faults[1:]] == [False, False]


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_a_fault_of_ours_costs_the_messages_and_nothing_else(recorder: Recorder) -> None:
    unserializable = Conversation(inputs=[7], system=[TextPart("a")])  # type: ignore[list-item]
    hook = Hook()
    captured = content("SPAN_AND_EVENT", recorder, hook)
    assert captured.span_attributes(unserializable) == {}
    finish(captured, recorder, unserializable)
    assert [call["log_record"] for call in hook.calls] == [None]
    assert recorder.events() == []


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_a_fault_of_the_logger_stays_with_us(recorder: Recorder) -> None:
    class Broken(NoOpLogger):
        def emit(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("no logs")

    hook = Hook()
    captured = Content(ContentCapturingMode.EVENT_ONLY, emits=True, hook=hook, logger=Broken("test"))
    finish(captured, recorder)
    assert len(hook.calls) == 1


# --- which hook ---


def test_the_hook_given_is_the_hook() -> None:
    hook = Hook()
    assert load_hook(hook, named=False) is load_hook(hook, named=True) is hook


def test_without_a_hook_given_or_named_there_is_none() -> None:
    assert load_hook(None, named=False) is None


def test_the_hook_that_stands_for_none_is_none() -> None:
    assert load_hook(load_completion_hook(), named=False) is None


@pytest.mark.noisy("opentelemetry")
def test_a_hook_whose_name_nobody_knows_is_reported_and_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK", "nonesuch")
    assert load_hook(None, named=True) is None
    assert "nonesuch is not a valid option" in caplog.text


def test_the_hook_named_is_loaded_from_its_entry_point(monkeypatch: pytest.MonkeyPatch, recorder: Recorder) -> None:
    hook = Hook()

    class EntryPoint:
        name = "mine"

        def load(self) -> Any:
            return lambda: hook

    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK", "mine")
    monkeypatch.setattr("opentelemetry.util.genai.completion_hook.entry_points", lambda **_: [EntryPoint()])
    finish(content("NO_CONTENT", recorder, load_hook(None, named=True)), recorder)
    assert len(hook.calls) == 1
