"""What requests and responses say, as messages of the conventions: exact shapes of what is known, less of the rest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ai_lib_python.client import ChatResponse
from ai_lib_python.client.builder import ChatRequestBuilder
from ai_lib_python.types import ContentBlock, Message, MessageRole, ToolCall, ToolDefinition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.util.genai.types import (
    FilePart,
    FunctionToolDefinition,
    GenericPart,
    GenericToolDefinition,
    InputMessage,
    OutputMessage,
    ReasoningPart,
    TextPart,
    ToolCallRequestPart,
    ToolCallResponsePart,
    UriPart,
)

from opentelemetry_instrumentation_ailib.messages import finish_reason, is_text, request_messages, response_messages
from opentelemetry_instrumentation_ailib.parts import OmittedBlob, parts

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def builder() -> ChatRequestBuilder:
    """A request of no client: building it sends nothing."""
    return ChatRequestBuilder(None)  # type: ignore[arg-type]


def inputs(*messages: Any) -> list[InputMessage]:
    return request_messages(builder().messages(list(messages)))[0]


# --- requests ---


def test_a_bare_request_says_nothing() -> None:
    assert request_messages(builder()) == ([], [], [])


def test_instructions_go_apart_and_all_other_messages_keep_their_order() -> None:
    request = (
        builder().system("Be brief").user("Hello").add_message(Message.assistant("Hi")).system("And kind").user("?")
    )
    assert request_messages(request) == (
        [
            InputMessage(role="user", parts=[TextPart(content="Hello")]),
            InputMessage(role="assistant", parts=[TextPart(content="Hi")]),
            InputMessage(role="user", parts=[TextPart(content="?")]),
        ],
        [TextPart(content="Be brief"), TextPart(content="And kind")],
        [],
    )


def test_the_blocks_of_a_message_are_its_parts() -> None:
    blocks = [
        ContentBlock.text_block("What is this?"),
        ContentBlock.image_url("https://images.example/cat.png"),
        ContentBlock.image_base64("aGVsbG8=", "image/png"),
        ContentBlock.audio_base64("aGVsbG8h", "audio/wav"),
        ContentBlock(type="hologram", text="unknown"),
    ]
    assert inputs(Message.with_content(MessageRole.USER, blocks)) == [
        InputMessage(
            role="user",
            parts=[
                TextPart(content="What is this?"),
                UriPart(mime_type=None, modality="image", uri="https://images.example/cat.png"),
                OmittedBlob(mime_type="image/png", modality="image", content=b"", size=5),
                OmittedBlob(mime_type="audio/wav", modality="audio", content=b"", size=6),
                GenericPart(type="hologram"),
            ],
        )
    ]


def test_a_tool_call_and_its_result_are_parts_of_their_messages() -> None:
    call = ContentBlock.tool_use("call_1", "weather", {"city": "Paris"})
    result = ContentBlock.tool_result("call_1", "rainy")
    assert inputs(
        Message.with_content(MessageRole.ASSISTANT, [call]),
        Message.with_content(MessageRole.USER, [result]),
        Message.with_content(MessageRole.TOOL, [result]),
        Message.tool("call_2", "42"),
        Message(role=MessageRole.TOOL, content=[ContentBlock.text_block("43")], tool_call_id="call_3"),
    ) == [
        InputMessage(role="assistant", parts=[ToolCallRequestPart({"city": "Paris"}, "weather", "call_1")]),
        InputMessage(role="user", parts=[ToolCallResponsePart("rainy", "call_1")]),
        InputMessage(role="tool", parts=[ToolCallResponsePart("rainy", "call_1")]),
        InputMessage(role="tool", parts=[ToolCallResponsePart("42", "call_2")]),
        InputMessage(role="tool", parts=[ToolCallResponsePart([TextPart(content="43")], "call_3")]),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("rainy", "rainy"),
        ({"rain": True}, {"rain": True}),
        ([1, 2], [1, 2]),
        ([{"type": "rain"}], [{"type": "rain"}]),
        (
            [{"type": "text", "text": "A map"}, {"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"}],
            [TextPart(content="A map"), OmittedBlob("image/png", "image", b"", size=5)],
        ),
        ([], []),
        (None, None),
    ],
)
def test_a_result_is_as_the_tool_gave_it_but_for_content_blocks(content: Any, expected: Any) -> None:
    block = {"type": "tool_result", "tool_use_id": "call_1", "content": content}
    assert parts([block]) == [ToolCallResponsePart(response=expected, id="call_1")]


def test_tools_are_defined_with_their_schemas() -> None:
    request = builder().tools(
        [
            ToolDefinition.from_function("weather", "Tells the weather", SCHEMA),
            ToolDefinition.from_function("now"),
        ]
    )
    assert request_messages(request)[2] == [
        FunctionToolDefinition(name="weather", description="Tells the weather", parameters=SCHEMA),
        FunctionToolDefinition(name="now", description=None, parameters={"type": "object", "properties": {}}),
    ]


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        (
            {"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": SCHEMA}},
            [FunctionToolDefinition("weather", "Tells it", SCHEMA)],
        ),
        (
            {"name": "weather", "description": "Tells it", "input_schema": SCHEMA},
            [FunctionToolDefinition("weather", "Tells it", SCHEMA)],
        ),
        (
            {"functionDeclarations": [{"name": "weather", "parameters": SCHEMA}, {"name": "now"}, {}]},
            [FunctionToolDefinition("weather", None, SCHEMA), FunctionToolDefinition("now", None, None)],
        ),
        ({"type": "web_search_1", "name": "search"}, [GenericToolDefinition(name="search", type="web_search_1")]),
        ({"type": "code_interpreter"}, [GenericToolDefinition(name="code_interpreter", type="code_interpreter")]),
        ({"type": "function"}, []),
        ({"type": "function", "function": {"name": 7}}, []),
        ("weather", []),
        (None, []),
    ],
)
def test_tools_of_a_providers_own_shape_are_defined_as_well(tool: Any, expected: Any) -> None:
    assert request_messages(builder().param("tools", [tool]))[2] == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("system", "Be brief", [TextPart(content="Be brief")]),
        (
            "system",
            [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief"}],
            [TextPart("Be"), TextPart("brief")],
        ),
        ("system_instruction", {"parts": [{"text": "Be brief"}]}, [TextPart(content="Be brief")]),
        ("systemInstruction", {"parts": [{"text": "Be brief"}]}, [TextPart(content="Be brief")]),
        ("instructions", "Be brief", [TextPart(content="Be brief")]),
        ("system", [{"type": "image", "source": {"type": "base64", "data": "aGk="}}], [GenericPart(type="blob")]),
        ("system", 7, []),
        ("system", "", []),
    ],
)
def test_instructions_may_be_parameters(name: str, value: Any, expected: Any) -> None:
    assert request_messages(builder().param(name, value).user("Hello")) == (
        [InputMessage(role="user", parts=[TextPart(content="Hello")])],
        expected,
        [],
    )


def test_messages_that_are_a_parameter_win_as_they_do_in_the_payload() -> None:
    messages = [
        {"role": "developer", "content": "Be brief"},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Weather?"}, "Please"]},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "A tool knows",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "rainy"},
        {"role": "assistant", "content": "", "refusal": "No"},
        {"role": "model", "parts": [{"text": "Hi"}]},
        {"content": "Who am I?"},
    ]
    assert request_messages(builder().user("not sent").param("messages", messages)) == (
        [
            InputMessage("user", [TextPart("Weather?"), TextPart("Please")], name="ann"),
            InputMessage(
                "assistant",
                [ReasoningPart("A tool knows"), ToolCallRequestPart({"city": "Paris"}, "weather", "call_1")],
            ),
            InputMessage("tool", [ToolCallResponsePart("rainy", "call_1")]),
            InputMessage("assistant", [TextPart("No")]),
            InputMessage("model", [TextPart("Hi")]),
            InputMessage("unknown", [TextPart("Who am I?")]),
        ],
        [TextPart("Be brief")],
        [],
    )


# --- blocks ---


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        # OpenAI
        ({"type": "input_text", "text": "Hi"}, TextPart("Hi")),
        ({"type": "output_text", "text": "Hi"}, TextPart("Hi")),
        ({"type": "refusal", "refusal": "No"}, TextPart("No")),
        (
            {"type": "image_url", "image_url": {"url": "https://h.example/a.png"}},
            UriPart(None, "image", "https://h.example/a.png"),
        ),
        (
            {"type": "image_url", "image_url": "https://h.example/a.png"},
            UriPart(None, "image", "https://h.example/a.png"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}},
            OmittedBlob("image/png", "image", b"", size=5),
        ),
        ({"type": "input_image", "file_id": "file-1"}, FilePart(None, "image", "file-1")),
        (
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
            OmittedBlob("audio/wav", "audio", b"", size=2),
        ),
        (
            {"type": "video_url", "video_url": {"url": "https://h.example/a.mp4"}},
            UriPart(None, "video", "https://h.example/a.mp4"),
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, FilePart(None, "document", "file-1")),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGVsbG8="}},
            OmittedBlob("application/pdf", "document", b"", size=5),
        ),
        # Anthropic
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8h"}},
            OmittedBlob("image/png", "image", b"", size=6),
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "https://h.example/a"}},
            UriPart(None, "image", "https://h.example/a"),
        ),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, FilePart(None, "image", "f")),
        ({"type": "document", "source": {"type": "text", "data": "Once"}}, TextPart("Once")),
        ({"type": "thinking", "thinking": "Hm", "signature": "s"}, ReasoningPart("Hm")),
        ({"type": "redacted_thinking", "data": "…"}, GenericPart("redacted_thinking")),
        ({"type": "tool_use", "id": "1", "name": "now", "input": {}}, ToolCallRequestPart({}, "now", "1")),
        # Mistral
        ({"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}, {}, {"text": "m"}]}, ReasoningPart("Hmm")),
        # Gemini
        ({"text": "Hi"}, TextPart("Hi")),
        ({"text": "Hm", "thought": True}, ReasoningPart("Hm")),
        ({"inlineData": {"mimeType": "audio/mp3", "data": "aGk="}}, OmittedBlob("audio/mp3", "audio", b"", size=2)),
        ({"inline_data": {"mime_type": "video/mp4", "data": b"hi"}}, OmittedBlob("video/mp4", "video", b"", size=2)),
        (
            {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/a.pdf"}},
            UriPart("application/pdf", "document", "gs://b/a.pdf"),
        ),
        (
            {"functionCall": {"name": "weather", "args": {"city": "Paris"}}},
            ToolCallRequestPart({"city": "Paris"}, "weather", None),
        ),
        (
            {"functionResponse": {"name": "weather", "response": {"rain": 1}}},
            ToolCallResponsePart({"rain": 1}, "weather"),
        ),
    ],
)
def test_a_block_of_any_providers_shape_is_a_part(block: Any, expected: Any) -> None:
    assert parts([block]) == [expected]


@pytest.mark.parametrize(
    "block",
    [
        None,
        7,
        "",
        {},
        [],
        {"type": ""},
        {"type": []},
        {"type": "text"},
        {"type": "text", "text": 7},
        {"type": "image"},
        {"type": "image", "source": 7},
        {"type": "image", "source": {"type": "base64", "data": 7}},
        {"type": "thinking", "thinking": 7},
        {"inlineData": {}},
        {"text": ["a"]},
        SimpleNamespace(type=7),
    ],
    ids=repr,
)
def test_a_block_that_says_nothing_is_none(block: Any) -> None:
    assert parts([block]) == []


@pytest.mark.parametrize(
    "content", [None, 7, iter(["a"]), {"a"}, b"abc", object()], ids=lambda value: type(value).__name__
)
def test_content_that_is_no_list_has_no_parts(content: Any) -> None:
    assert parts(content) == []


def test_an_iterator_is_left_to_its_owner() -> None:
    blocks = iter([{"type": "text", "text": "Hi"}])
    assert inputs({"role": "user", "content": blocks}) == [InputMessage("user", [])]
    assert list(blocks) == [{"type": "text", "text": "Hi"}]


@pytest.mark.parametrize(
    ("url", "mime_type", "size"),
    [
        ("data:image/png;base64,aGVsbG8=", "image/png", 5),
        ("data:image/png;base64,aGVsbA==", "image/png", 4),
        ("data:image/png;charset=x;BASE64,aGVsbG8h", "image/png", 6),
        ("data:text/plain,hello", "text/plain", 5),
        ("data:,hello", None, 5),
        ("DATA:image/png;base64,aGVsbG8=", "image/png", 5),
        (" data:image/png;base64,aGVsbG8=", "image/png", 5),
        ("data:", None, 0),
        ("data:" + "x" * 9000, "x" * 251, 8748),
    ],
)
def test_of_a_data_url_type_and_size_are_told(url: str, mime_type: str | None, size: int) -> None:
    block = {"type": "image_url", "image_url": {"url": url}}
    assert parts([block]) == [OmittedBlob(mime_type, "image", b"", size=size)]


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("https://b.example/cat.png?X-Amz-Signature=s3cret&x=1", "https://b.example/cat.png"),
        ("https://b.example/cat.png#s3cret", "https://b.example/cat.png"),
        ("https://ann:s3cret@b.example/cat.png", "https://b.example/cat.png"),
        ("//s3cret@b.example/cat.png", "//b.example/cat.png"),
        ("https://p.example/https://ann:s3cret@b.example/a@b", "https://p.example/https://b.example/a@b"),
        ("file_store/cat.png", "file_store/cat.png"),
    ],
)
def test_a_location_loses_what_may_be_a_credential(url: str, uri: str) -> None:
    assert parts([{"type": "image_url", "image_url": url}]) == [UriPart(None, "image", uri)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"city": "Paris"}', {"city": "Paris"}),
        ("[1, 2]", [1, 2]),
        ("", ""),
        ('{"city": "Par', '{"city": "Par'),
        ({"city": "Paris"}, {"city": "Paris"}),
        (None, None),
        pytest.param("[" * 9000, "[" * 9000, id="too-deep-to-parse"),
        pytest.param("[" + "1," * 9000 + "1]", "[" + "1," * 9000 + "1]", id="too-long-to-parse"),
    ],
)
def test_arguments_are_parsed_where_they_are_short_and_json(arguments: Any, expected: Any) -> None:
    call = {"id": "call_1", "function": {"name": "weather", "arguments": arguments}}
    message = {"role": "assistant", "tool_calls": [call]}
    assert inputs(message) == [InputMessage("assistant", [ToolCallRequestPart(expected, "weather", "call_1")])]


IN_PARTS = Message(role=MessageRole.USER, content=[ContentBlock.text_block("Hello")])


@pytest.mark.parametrize(
    ("request_like", "text"),
    [
        (builder(), True),
        (builder().system("Be brief").user("Hello"), True),
        (builder().user("Hello").messages([IN_PARTS]), False),
        (builder().messages([IN_PARTS]).user("Hello"), False),
        (builder().user("Hello").param("seed", 7).param("metadata", {"messages": []}), True),
        (builder().param("messages", [{"role": "user", "content": "Hello"}]), False),
        (builder().user("Hello").param("contents", [{"parts": [{"inlineData": {}}]}]), False),
        (builder().user("Hello").param("contents", ({"parts": []},)), False),
        (SimpleNamespace(_messages=[object()], _extra_params={}), False),
        (SimpleNamespace(_messages=[], _extra_params=None), False),
        (SimpleNamespace(_messages=[]), False),
        (SimpleNamespace(_messages=None), False),
        (None, False),
    ],
)
def test_a_request_holds_nothing_but_text_where_each_message_is_one(request_like: Any, text: bool) -> None:
    """Unless a parameter of its own holds messages in the provider's words."""
    assert is_text(request_like) is text


# --- responses ---


def response(body: Any, **known: Any) -> ChatResponse:
    return ChatResponse(raw_response=body, **known)


def test_an_openai_shaped_response_has_a_message_for_each_choice() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
    body = {
        "choices": [
            {"message": {"role": "assistant", "content": "Hello", "reasoning_content": "Hm"}, "finish_reason": "stop"},
            {"message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"},
            {"message": {"content": None, "refusal": "No"}, "finish_reason": "length"},
        ]
    }
    assert response_messages(response(body, content="Hello", finish_reason="stop")) == [
        OutputMessage("assistant", [ReasoningPart("Hm"), TextPart("Hello")], "stop"),
        OutputMessage("assistant", [ToolCallRequestPart({"city": "Paris"}, "weather", "call_1")], "tool_call"),
        OutputMessage("assistant", [TextPart("No")], "length"),
    ]


def test_an_anthropic_shaped_response_keeps_the_order_of_its_blocks() -> None:
    body = {
        "role": "assistant",
        "stop_reason": "tool_use",
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "s"},
            {"type": "text", "text": "I ask"},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}},
        ],
    }
    known = response(body, content="I ask", finish_reason="tool_use")
    assert response_messages(known) == [
        OutputMessage(
            "assistant",
            [ReasoningPart("Hm"), TextPart("I ask"), ToolCallRequestPart({"city": "Paris"}, "weather", "toolu_1")],
            "tool_call",
        )
    ]


def test_a_gemini_shaped_response_has_a_message_for_each_candidate() -> None:
    body = {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "Hm", "thought": True}, {"text": "Hi"}]},
                "finishReason": "STOP",
            },
            {"content": {"parts": [{"functionCall": {"name": "now", "args": {}}}]}, "finishReason": "MAX_TOKENS"},
            {"finishReason": "RECITATION"},
        ]
    }
    assert response_messages(response(body, content="Hi")) == [
        OutputMessage("assistant", [ReasoningPart("Hm"), TextPart("Hi")], "stop"),
        OutputMessage("assistant", [ToolCallRequestPart({}, "now", None)], "length"),
        OutputMessage("assistant", [], "RECITATION"),
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"message": {"role": "assistant", "content": "Hi"}, "done_reason": "stop"},
            OutputMessage("assistant", [TextPart("Hi")], "stop"),
        ),
        (
            {"message": {"content": [{"type": "text", "text": "Hi"}]}, "finish_reason": "COMPLETE"},
            OutputMessage("assistant", [TextPart("Hi")], "COMPLETE"),
        ),
    ],
)
def test_a_response_may_hold_its_only_message_at_the_top(body: Any, expected: OutputMessage) -> None:
    assert response_messages(response(body)) == [expected]


@pytest.mark.parametrize(
    "body", [None, {}, [], "text", {"choices": []}, {"choices": [7]}, {"error": {"message": "x"}}], ids=repr
)
def test_what_the_runtime_found_counts_where_the_body_has_no_known_shape(body: Any) -> None:
    call = ToolCall.from_openai_format("call_1", "weather", '{"city":"Par')
    known = response(body, content="Hello", tool_calls=[call], finish_reason="tool_calls")
    assert response_messages(known) == [
        OutputMessage(
            "assistant", [TextPart("Hello"), ToolCallRequestPart('{"city":"Par', "weather", "call_1")], "tool_call"
        )
    ]


def test_the_reason_of_the_body_counts_where_the_runtime_found_none() -> None:
    body = {"choices": [{"text": "Hello", "finish_reason": "length"}]}
    assert response_messages(response(body, content="Hello")) == [
        OutputMessage("assistant", [TextPart("Hello")], "length")
    ]


def test_the_runtimes_reason_counts_where_the_body_has_none() -> None:
    body = {"choices": [{"message": {"content": "Hello"}}]}
    known = response(body, finish_reason="end_turn")
    assert response_messages(known) == [OutputMessage("assistant", [TextPart("Hello")], "stop")]


def test_an_empty_answer_has_its_finish_reason_and_no_parts() -> None:
    body = {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}
    assert response_messages(response(body)) == [OutputMessage("assistant", [], "content_filter")]
    assert response_messages(response(None, finish_reason="stop")) == [OutputMessage("assistant", [], "stop")]


def test_no_answer_is_no_message() -> None:
    assert response_messages(response(None)) == response_messages(None) == []


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("tool_calls", "tool_call"),
        ("tool_use", "tool_call"),
        ("function_call", "tool_call"),
        ("SAFETY", "content_filter"),
        ("refusal", "content_filter"),
        ("content_filter", "content_filter"),
        ("pause_turn", "pause_turn"),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_finish_reasons_are_those_of_the_conventions_where_they_have_one(reason: Any, expected: str | None) -> None:
    assert finish_reason(reason) == expected


# --- anything at all ---

ANYTHING = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = st.sampled_from(
    ["role", "content", "type", "text", "parts", "tool_calls", "function", "name", "arguments", "id"]
)
NAMES |= st.sampled_from(
    ["source", "data", "url", "image_url", "input", "thinking", "message", "functionCall", "choices"]
)
NAMES |= st.sampled_from(
    ["functionDeclarations", "inlineData", "mimeType", "candidates", "finish_reason", "parameters"]
)
WORDS = st.sampled_from(
    ["system", "user", "tool", "text", "image", "tool_use", "tool_result", "image_url", "thinking", "function", "url"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=20) | st.binary(max_size=8)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)


@ANYTHING
@given(JSON, JSON, JSON, JSON)
def test_no_request_is_too_odd(messages: Any, tools: Any, system: Any, extra: Any) -> None:
    for request in (
        SimpleNamespace(_messages=messages, _tools=tools, _extra_params={"system": system}),
        SimpleNamespace(_messages=[messages], _tools=[tools], _extra_params=extra),
        messages,
    ):
        got_inputs, got_system, got_tools = request_messages(request)
        assert all(isinstance(message, InputMessage) and isinstance(message.role, str) for message in got_inputs)
        assert all(isinstance(part, (TextPart, GenericPart)) for part in got_system)
        assert all(isinstance(tool.name, str) for tool in got_tools)


@ANYTHING
@given(JSON, JSON, JSON, JSON)
def test_no_response_is_too_odd(body: Any, content: Any, calls: Any, reason: Any) -> None:
    for each in (
        SimpleNamespace(raw_response=body, content=content, tool_calls=calls, finish_reason=reason),
        SimpleNamespace(raw_response={"choices": [body], "content": content}),
        body,
    ):
        assert all(isinstance(message, OutputMessage) for message in response_messages(each))


class OddMapping(dict[str, Any]):
    """A mapping that nothing can be got from."""

    def get(self, *_: Any) -> Any:
        raise RuntimeError("no member")


class OddObject:
    """An object that has no members to look at."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no members")


@pytest.mark.parametrize("message", [OddMapping(role="user"), OddObject()], ids=["mapping", "object"])
def test_a_message_whose_members_raise_says_nothing(message: Any) -> None:
    assert inputs(message) == [InputMessage("unknown", [])]
