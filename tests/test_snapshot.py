"""What a request says, as it is when the call begins: its values copied, and told as they would have been."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from ai_lib_python.types import ContentBlock, FunctionDefinition, Message, MessageRole
from ai_lib_python.types import ToolDefinition as Tool
from hypothesis import given
from opentelemetry.util.genai.types import (
    FunctionToolDefinition,
    InputMessage,
    TextPart,
    ToolCallRequestPart,
    ToolCallResponsePart,
)

from opentelemetry_instrumentation_ailib import parts
from opentelemetry_instrumentation_ailib.fitting import fitted
from opentelemetry_instrumentation_ailib.messages import Conversation, request_messages
from opentelemetry_instrumentation_ailib.snapshot import as_sent
from test_fitting import KEYS
from test_messages import ANYTHING, JSON, builder


def calling(*arguments: Any) -> Conversation:
    """A message for each value, in which a tool is called with it."""
    return Conversation([InputMessage("assistant", [ToolCallRequestPart(each, "f", "1")]) for each in arguments])


def answering(value: Any) -> Conversation:
    tool = FunctionToolDefinition(name="f", description=None, parameters=value)
    return Conversation([InputMessage("tool", [TextPart("x"), ToolCallResponsePart(value, "1")])], tools=[tool])


def nested(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


class Lazy(Mapping[str, Any]):
    """Is asked for no more than is told."""

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        return 10**9

    def __iter__(self) -> Any:
        return map(str, range(10**9))

    def __getitem__(self, key: str) -> Any:
        self.asked += 1
        return key


def test_what_the_application_changes_meanwhile_is_told_as_it_was() -> None:
    arguments: dict[str, Any] = {"city": "Paris", "days": [1, {"of": {"May"}}], "by": SimpleNamespace(name="Ann")}
    result: list[Any] = ["rain"]
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    blocks = [ContentBlock.tool_use("1", "f", arguments), ContentBlock.tool_result("1", result)]  # type: ignore[arg-type]
    blocks[0].input, blocks[1].content = arguments, result  # type: ignore[assignment]
    tool = Tool(function=FunctionDefinition(name="f"))
    tool.function.parameters = schema  # type: ignore[assignment]
    request = builder().messages([Message(role=MessageRole.ASSISTANT, content=blocks)]).tools([tool])
    inputs, system, tools = request_messages(request)
    kept = as_sent(Conversation(inputs, [], system, tools))

    arguments["city"] = "London"
    arguments["days"][1]["of"].add("June")
    arguments["days"].append(2)
    arguments["by"].name = "Bob"
    result.append("sun")
    schema["properties"]["secret"] = {}

    assert fitted(kept) == Conversation(
        inputs=[
            InputMessage(
                "assistant",
                [
                    ToolCallRequestPart(
                        {"city": "Paris", "days": [1, {"of": ["May"]}], "by": {"name": "Ann"}}, "f", "1"
                    ),
                    ToolCallResponsePart(["rain"], "1"),
                ],
            )
        ],
        tools=[FunctionToolDefinition("f", None, {"type": "object", "properties": {}})],
    )


@pytest.mark.parametrize(
    "value",
    [
        list(range(100_000)),
        [0] * 100_000,
        [[]] * 100_000,
        {f"key{number}": number for number in range(100_000)},
        {"a": {str(number): {} for number in range(100_000)}, "b": ["x" * 20_000] * 10},
        {"": nested(30), "set": frozenset("x"), "bytes": bytearray(7)},
        MappingProxyType({"a": (1, None, 2.5, True)}),
        [object(), len, SimpleNamespace(a=[1], _b=2), SimpleNamespace()],
        parts.parts([{"type": "text", "text": "x"}] * 5_000),
    ],
    ids=["numbers", "digits", "lists", "mapping", "mapping-of-mappings", "odd", "proxy", "objects", "parts"],
)
def test_a_copy_is_told_as_the_value_would_have_been(value: Any) -> None:
    assert fitted(as_sent(calling(value, "x" * 30_000, value))) == fitted(calling(value, "x" * 30_000, value))
    assert fitted(as_sent(answering(value))) == fitted(answering(value))


@ANYTHING
@given(JSON, KEYS)
def test_whatever_it_is_a_copy_is_told_as_it_would_have_been(value: Any, keys: Any) -> None:
    assert fitted(as_sent(calling(value, keys))) == fitted(calling(value, keys))
    assert fitted(as_sent(answering(value))) == fitted(answering(value))


def test_no_more_is_copied_than_may_be_told() -> None:
    lazy = Lazy()
    (message,) = as_sent(calling({"lazy": lazy})).inputs
    call = message.parts[0]
    assert isinstance(call, ToolCallRequestPart)
    assert 10_000 < len(call.arguments["lazy"]) <= lazy.asked < 40_000


def test_of_long_texts_no_more_are_copied_than_may_be_told() -> None:
    (message,) = as_sent(calling({"rows": [{"text": "x" * 300} for _ in range(40_000)]})).inputs
    call = message.parts[0]
    assert isinstance(call, ToolCallRequestPart)
    assert 65_536 // 300 < len(call.arguments["rows"]) < 1_000


def test_texts_are_not_copied() -> None:
    text = "x" * 1_000_000
    (message,) = as_sent(calling({"text": [text]})).inputs
    call = message.parts[0]
    assert isinstance(call, ToolCallRequestPart)
    assert call.arguments["text"][0] is text
