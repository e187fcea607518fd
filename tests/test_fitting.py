"""What may leave the process of a conversation: bounded, without secrets, in valid UTF-8, whatever it is made of."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from ai_lib_python.types import ContentBlock, FunctionDefinition, Message, MessageRole
from ai_lib_python.types import ToolDefinition as Tool
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.util.genai.types import (
    FunctionToolDefinition,
    GenericToolDefinition,
    InputMessage,
    MessagePart,
    OutputMessage,
    SystemInstructionPart,
    TextPart,
    ToolCallRequestPart,
    ToolCallResponsePart,
    ToolDefinition,
)
from opentelemetry.util.genai.utils import gen_ai_json_dumps

from opentelemetry_instrumentation_ailib.fitting import fitted
from opentelemetry_instrumentation_ailib.messages import Conversation, request_messages, response_messages
from opentelemetry_instrumentation_ailib.parts import DIRECTION_CHARACTERS, OmittedBlob, Truncated
from opentelemetry_instrumentation_ailib.stream_messages import StreamMessages
from test_messages import ANYTHING, JSON, builder

PART, DIRECTION = 16_384, 65_536
SECRET = "s3cr/t+of=\"openai\" 'é'"
MASK = "***REDACTED***"


def said(*texts: str) -> Conversation:
    return Conversation(inputs=[InputMessage(role="user", parts=[TextPart(content=text)]) for text in texts])


def texts(conversation: Conversation) -> list[str]:
    return [part.content for message in conversation.inputs for part in message.parts if isinstance(part, TextPart)]


def arguments(value: Any, *secrets: str) -> Any:
    """What becomes of the arguments of a tool call."""
    call = ToolCallRequestPart(arguments=value, name="f", id="1")
    part = fitted(Conversation(outputs=[OutputMessage("assistant", [call])]), *secrets).outputs[0].parts[0]
    assert isinstance(part, ToolCallRequestPart)
    return part.arguments


# --- size ---


def directions(conversation: Conversation) -> list[list[dict[str, Any]]]:
    return [
        [asdict(item) for item in items]
        for items in (conversation.inputs, conversation.outputs, conversation.system, conversation.tools)
    ]


def characters(value: Any) -> int:
    """The length of a value in JSON, of which no character is escaped."""
    if isinstance(value, dict):
        return 1 + sum(len(key) + 4 + characters(each) for key, each in value.items())
    if isinstance(value, list):
        return 1 + sum(1 + characters(each) for each in value)
    return len(value) + 2 if isinstance(value, (str, bytes)) else len(json.dumps(value))


def check(conversation: Conversation) -> None:
    """Fail unless a conversation can be exported: by size, by type and by encoding."""
    for items in directions(conversation):
        assert characters(items) <= DIRECTION
        assert len(gen_ai_json_dumps(items)) <= 12 * DIRECTION
        check_value(items)


def check_value(value: Any, depth: int = 0) -> None:
    assert depth < 24
    if isinstance(value, dict):
        for key, each in value.items():
            assert isinstance(key, str)
            assert key.encode("utf-8")
            check_value(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            check_value(each, depth + 1)
    elif isinstance(value, str):
        assert type(value) is str
        assert len(value) <= PART
        value.encode("utf-8")
    elif isinstance(value, int):
        assert -(2**63) <= value < 2**63
    elif isinstance(value, float):
        assert math.isfinite(value)
    else:
        assert value is None or value == b""


def test_what_fits_is_as_it_was() -> None:
    request = builder().system("Be brief").user("x" * PART).tools([Tool.from_function("weather", "Tells it")])
    request.add_message(Message.with_content(MessageRole.USER, [ContentBlock.image_base64("aGVsbG8=", "image/png")]))
    inputs, system, tools = request_messages(request)
    conversation = Conversation(inputs, [OutputMessage("assistant", [TextPart("Hi")], "stop")], system, tools)
    assert fitted(conversation) == conversation
    assert isinstance(fitted(conversation).inputs[1].parts[0], OmittedBlob)
    check(conversation)


def test_what_is_fitted_is_left_as_it_is() -> None:
    conversation = said("x" * 5_000_000)
    fitted(conversation)
    assert texts(conversation) == ["x" * 5_000_000]


def test_a_text_is_cut_and_says_how_much_was_left_out() -> None:
    (text,) = texts(fitted(said("x" * PART + "y")))
    kept = PART - 48
    assert text == "x" * kept + " [characters left out: 49]"
    (text,) = texts(fitted(said("x" * 5_000_000)))
    assert text == "x" * kept + f" [characters left out: {5_000_000 - kept}]"


def test_what_a_stream_did_not_keep_counts_as_left_out() -> None:
    text = Truncated("Hello")
    text.left_out = 7
    assert texts(fitted(said(text))) == ["Hello [characters left out: 7]"]


def test_of_the_inputs_the_newest_are_kept_and_the_others_counted() -> None:
    sent = [f"{number:04}" + "x" * 996 for number in range(5_000)]
    conversation = fitted(said(*sent))
    check(conversation)
    notice, cut, *whole = texts(conversation)
    assert conversation.inputs[0] == InputMessage("system", [TextPart(notice)])
    assert whole == sent[-len(whole) :]
    assert len(whole) == 60
    assert cut.partition("x")[0] == "4939"
    assert notice == "[earlier messages left out: 4939]"


def test_the_oldest_message_that_there_is_some_room_for_is_cut() -> None:
    conversation = fitted(said("gone", "a" * 14_000, *(letter * 14_000 for letter in "bcde")))
    check(conversation)
    notice, cut, *whole = texts(conversation)
    assert notice == "[earlier messages left out: 1]"
    assert whole == [letter * 14_000 for letter in "bcde"]
    kept = len(cut.partition(" ")[0])
    assert 8_000 < kept < 14_000
    assert cut == "a" * kept + f" [characters left out: {14_000 - kept}]"


def test_a_huge_prompt_leaves_room_for_the_question_about_it() -> None:
    conversation = fitted(said("x" * 5_000_000, "What does it say?"))
    check(conversation)
    assert texts(conversation)[1] == "What does it say?"


def test_a_message_of_many_parts_keeps_the_first_and_counts_the_others() -> None:
    parts = [TextPart(f"{number:04}" + "x" * 996) for number in range(100)]
    conversation = fitted(Conversation(inputs=[InputMessage("user", list(parts))]))
    check(conversation)
    (message,) = conversation.inputs
    assert message.parts[:62] == parts[:62]
    (cut, notice) = message.parts[62:]
    assert isinstance(cut, TextPart)
    assert cut.content.startswith("0062xxx")
    assert notice == TextPart("[37 more left out]")


def test_of_everything_else_the_first_is_kept() -> None:
    text = "x" * 10_000
    answers = [OutputMessage("assistant", [TextPart(text)], "stop") for _ in range(9)]
    system: list[SystemInstructionPart] = [TextPart(text) for _ in range(9)]
    tools: list[ToolDefinition] = [FunctionToolDefinition(f"tool_{number}", text, None) for number in range(9)]
    conversation = fitted(Conversation(outputs=answers, system=system, tools=tools))
    check(conversation)
    assert [len(items) for items in directions(conversation)] == [0, 8, 8, 8]  # Six whole, one cut, the notice.
    assert conversation.outputs[:6] == answers[:6]
    assert conversation.outputs[-1] == OutputMessage("assistant", [TextPart("[2 more left out]")])
    assert conversation.system[:6] == system[:6]
    assert conversation.system[-1] == TextPart("[2 more left out]")
    assert conversation.tools[:6] == tools[:6]
    assert conversation.tools[-1] == GenericToolDefinition(name="[2 more left out]", type="function")


def test_each_direction_has_room_of_its_own() -> None:
    huge = said(*("x" * PART for _ in range(9)))
    small = OutputMessage("assistant", [TextPart("Hi")], "stop")
    assert fitted(Conversation(huge.inputs, [small])).outputs == [small]


@pytest.mark.parametrize("character", ["x", '"', "\x00", "é", "中", "😀"])
def test_the_four_directions_come_to_less_than_a_batch_whatever_the_characters(character: str) -> None:
    text = character * 100_000
    call = ToolCallRequestPart({text: [text]}, text, text)
    conversation = fitted(
        Conversation(
            [InputMessage(text, [TextPart(text)], text)] * 9,
            [OutputMessage(text, [call], text)] * 9,
            [TextPart(text)] * 9,
            [FunctionToolDefinition(text, text, {"properties": text})] * 9,
        )
    )
    check(conversation)
    assert sum(len(gen_ai_json_dumps(items)) for items in directions(conversation)) < 3 * 1024 * 1024
    encoded = json.dumps(directions(conversation), default=str, ensure_ascii=False).encode()
    assert len(encoded) > 200_000


# --- values ---


@dataclass
class Own:
    """A class of the application's."""

    city: str
    days: int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"city": "Paris", "days": [1, 2.5, True, None]}, {"city": "Paris", "days": [1, 2.5, True, None]}),
        (("a", 1), ["a", 1]),
        ({1: "a", None: "b", "": "c"}, {"1": "a", "None": "b", '""': "c"}),
        (2**63 - 1, 2**63 - 1),
        (2**63, "[integer of 64 bits]"),
        (-(2**63), -(2**63)),
        pytest.param(10**5000, "[integer of 16610 bits]", id="no-string-is-as-long"),
        (math.inf, "inf"),
        (math.nan, "nan"),
        (b"\x00\x01", "[bytes left out: 2]"),
        (bytearray(b"abc"), "[bytes left out: 3]"),
        (b"", b""),
        ("a\ud800b", "a?b"),
        ({"\udfff": "\ud83d\ude00"}, {"?": "??"}),
        (Own("Paris", 2), {"city": "Paris", "days": 2}),
        (FunctionDefinition(name="f"), {"name": "f", "parameters": {"type": "object", "properties": {}}}),
        (datetime.date(2025, 1, 2), "2025-01-02"),
        (decimal.Decimal("1.5"), "1.5"),
        (MessageRole.USER, "user"),
        (object(), None),
        (len, None),
        (iter([1]), None),
    ],
)
def test_a_value_becomes_one_that_can_be_exported(value: Any, expected: Any) -> None:
    taken = arguments(value)
    if isinstance(expected, dict) and "name" in expected:
        taken = {key: each for key, each in taken.items() if each is not None}
    assert taken == expected
    assert type(taken) is type(expected)


def test_a_long_list_keeps_its_beginning_and_counts_the_others() -> None:
    taken = arguments(list(range(1_000_000)))
    assert taken[:-1] == list(range(len(taken) - 1))
    assert taken[-1] == f"[{1_000_000 - len(taken) + 1} more left out]"
    assert len(taken) > 10_000


def test_a_long_mapping_keeps_its_beginning_and_counts_the_others() -> None:
    taken = arguments({f"key{number}": number for number in range(100_000)})
    assert list(taken)[:-1] == [f"key{number}" for number in range(len(taken) - 1)]
    assert taken["..."] == f"[{100_000 - len(taken) + 1} more left out]"
    assert len(taken) > 3_000


def test_a_long_key_is_cut() -> None:
    assert list(arguments({"k" * 300: 1})) == ["k" * 208 + " [characters left out: 92]"]


def test_values_are_nested_so_deeply_at_most() -> None:
    value: Any = "bottom"
    for _ in range(100_000):
        value = [value]
    taken = arguments(value)
    depth = 0
    while isinstance(taken, list):
        (taken,) = taken
        depth += 1
    assert (taken, depth) == ("[nested too deeply]", 17)


def test_a_value_that_contains_itself_ends() -> None:
    value: dict[str, Any] = {}
    value["self"] = [value, value]
    check(fitted(Conversation(inputs=[InputMessage("tool", [ToolCallResponsePart(value, "1")])])))


class Node:
    """Knows others, and itself."""

    def __init__(self) -> None:
        self.others: list[Node] = []


def test_objects_that_know_each_other_are_followed_as_far_as_there_is_room() -> None:
    """Each way through them would be, else: there are more than anybody can follow."""
    nodes = [Node() for _ in range(30)]
    for node in nodes:
        node.others = [*nodes]
    kept = arguments(nodes[0])
    assert list(kept) == ["others"]
    assert len(json.dumps(kept)) < 2 * DIRECTION_CHARACTERS


class Table:
    """Says what it is made of, and takes its time."""

    def __init__(self) -> None:
        self._rows = [1]

    def to_dict(self) -> dict[str, Any]:
        """Return it."""
        raise AssertionError("nobody has this time")


@pytest.mark.parametrize("value", [Table, len, Table.to_dict], ids=["a class", "a function", "a method"])
def test_classes_and_functions_are_no_values(value: Any) -> None:
    assert arguments({"value": value}) == {"value": None}


def test_of_what_an_object_would_have_to_say_itself_its_class_is_told() -> None:
    assert arguments({"table": Table()}) == {"table": "[Table left out]"}


# --- secrets ---


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        repr(SECRET)[1:-1],
        ascii(SECRET)[1:-1],
        json.dumps(SECRET)[1:-1],
    ],
)
def test_a_secret_is_taken_out_in_every_form(form: str) -> None:
    assert texts(fitted(said(f"My key is {form}, yes {form}."), SECRET)) == [f"My key is {MASK}, yes {MASK}."]


def test_a_secret_is_taken_out_of_everything() -> None:
    call = ToolCallRequestPart({SECRET: [SECRET, {"key": f"<{SECRET}>"}]}, SECRET, SECRET)
    parts: list[MessagePart] = [call, OmittedBlob(mime_type=SECRET, modality=SECRET, content=b"", size=1)]
    tool = FunctionToolDefinition(SECRET, SECRET, {"enum": [SECRET]})
    conversation = Conversation(
        [InputMessage(SECRET, list(parts), SECRET)],
        [OutputMessage("a", list(parts), SECRET)],
        [TextPart(SECRET)],
        [tool],
    )
    taken_call = ToolCallRequestPart({MASK: [MASK, {"key": f"<{MASK}>"}]}, MASK, MASK)
    taken: list[MessagePart] = [taken_call, OmittedBlob(mime_type=MASK, modality=MASK, content=b"", size=1)]
    assert fitted(conversation, None, "", SECRET) == Conversation(
        [InputMessage(MASK, list(taken), MASK)],
        [OutputMessage("a", list(taken), MASK)],
        [TextPart(MASK)],
        [FunctionToolDefinition(MASK, MASK, {"enum": [MASK]})],
    )


@pytest.mark.parametrize("placeholder", ["x", "1", "text", "None", "user", "none"])
def test_a_placeholder_is_no_secret(placeholder: str) -> None:
    """Servers that run locally want a key, and any will do."""
    conversation = Conversation(
        inputs=[InputMessage("user", [TextPart(f"Is {placeholder} there?")])],
        outputs=[OutputMessage("assistant", [TextPart("None of 1")], "stop")],
    )
    assert fitted(conversation, placeholder) == fitted(conversation)


def test_every_secret_of_a_call_is_taken_out() -> None:
    said_both = said("first-key second-key first-key-of-two")
    assert texts(fitted(said_both, "first-key", "second-key", "first-key-of-two")) == [f"{MASK} {MASK} {MASK}"]


def test_a_number_that_is_a_secret_is_taken_out() -> None:
    assert arguments({"pin": 123456789, "more": 91234567890, "other": 5}, "123456789") == {
        "pin": MASK,
        "more": f"9{MASK}0",
        "other": 5,
    }


@ANYTHING
@given(st.integers(0, 200), st.integers(0, 4), st.booleans())
def test_no_half_of_a_secret_is_left_where_a_text_is_cut(offset: int, others: int, truncated: bool) -> None:
    """Not even where secrets before it made the text shorter."""
    secret = "0123456789" * 8
    text = secret * others + "x" * (PART - 14 * others - 148 + offset) + secret + "y" * 100_000
    if truncated:
        end = len(secret) * others + text[len(secret) * others :].index("0") + offset % 80
        whole, text = text, Truncated(text[:end])
        text.left_out = len(whole) - end
    (taken,) = texts(fitted(said(text), secret))
    kept = taken.partition(" [")[0]
    assert not set(kept) & set(secret)
    assert kept.count("x") > 16_000


KEYS = st.text('ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/="\\é', min_size=16, max_size=64)


# --- anything at all ---


def planted(value: Any, secret: str) -> Any:
    """Put a secret into every text and every key."""
    if isinstance(value, dict):
        return {f"{key}{secret}": planted(each, secret) for key, each in value.items()} | {
            key: planted(each, secret) for key, each in value.items() if key in ("type", "role")
        }
    if isinstance(value, list):
        return [planted(each, secret) for each in value]
    return f"{value}{secret}{value}" if isinstance(value, str) else value


def quoted(value: Any, forms: set[str]) -> list[str]:
    if isinstance(value, dict):
        return [found for item in value.items() for each in item for found in quoted(each, forms)]
    if isinstance(value, list):
        return [found for each in value for found in quoted(each, forms)]
    return [form for form in forms if form in value] if isinstance(value, str) else []


@ANYTHING
@given(JSON, JSON, JSON, JSON, KEYS)
def test_whatever_is_said_can_be_exported_and_quotes_no_secret(
    messages: Any, tools: Any, body: Any, extra: Any, secret: str
) -> None:
    messages, tools, body = (planted(each, secret) for each in (messages, tools, body))
    request = SimpleNamespace(
        _messages=[messages, {"role": "user", "content": messages}],
        _tools=[tools, {"name": f"t{secret}", "input_schema": tools}],
        _extra_params={"system": messages, "other": extra},
    )
    call = {"function": {"name": secret, "arguments": body}, "id": secret}
    answer = SimpleNamespace(raw_response={"choices": [{"message": {"content": body, "tool_calls": [call]}}, body]})
    inputs, system, defined = request_messages(request)
    conversation = fitted(Conversation(inputs, response_messages(answer), system, defined), secret)
    check(conversation)
    forms = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    assert quoted(directions(conversation), forms) == []


@ANYTHING
@given(st.lists(st.text(max_size=50), max_size=9), st.integers(1, 5_000), KEYS)
def test_long_streams_and_requests_are_bounded(pieces: list[str], repeated: int, secret: str) -> None:
    stream = StreamMessages()
    for piece in pieces:
        data = SimpleNamespace(content=piece * repeated + secret)
        stream.note(SimpleNamespace(event_type="PartialContentDelta", data=data))
    inputs = said(*(piece * repeated + secret for piece in pieces)).inputs
    conversation = fitted(Conversation(inputs, stream.messages()), secret)
    check(conversation)
    assert quoted(directions(conversation), {secret}) == []
