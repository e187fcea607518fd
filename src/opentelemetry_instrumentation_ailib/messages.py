"""What is said in a chat call, as the messages that the GenAI conventions define: requests and responses.

Everything takes what comes: wrong types and shapes yield less, never an error. Nothing is cut or copied here: what
leaves the process of it is up to ``fitting``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from opentelemetry.util.genai.types import (
    FunctionToolDefinition,
    GenericPart,
    GenericToolDefinition,
    InputMessage,
    MessagePart,
    OutputMessage,
    ReasoningPart,
    Role,
    SystemInstructionPart,
    TextPart,
    ToolCallResponsePart,
    ToolDefinition,
)

from opentelemetry_instrumentation_ailib import parts
from opentelemetry_instrumentation_ailib.parts import get, items, string
from opentelemetry_instrumentation_ailib.shortened import MAX_ITEMS, converted, joined, left_out_of, shortened

_SYSTEM_ROLES: Final = ("system", "developer")
# Where instructions are looked for besides, when not all of the messages are looked at.
_HEAD: Final = 64
_SYSTEM_PARAMETERS: Final = ("system", "instructions", "system_instruction", "systemInstruction")

# The reasons that the conventions name, by those of the providers.
_FINISH_REASONS: Final = {
    "stop": "stop",
    "tool_calls": "tool_call",
    "tool_use": "tool_call",
    "function_call": "tool_call",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "refusal": "content_filter",
    "safety": "content_filter",
}
# Longer than any of them.
_LONGEST_REASON: Final = 64

# Where the bodies of responses keep their choices, each choice its message and its finish reason.
_CHOICES: Final = (("choices", "message", "finish_reason"), ("candidates", "content", "finishReason"))


@dataclass(frozen=True)
class Conversation:
    """What is said in a chat call.

    Attributes:
        inputs: The messages sent, without those that instruct the model.
        outputs: The answers, one message per choice.
        system: The instructions.
        tools: The tools that the model may call.
    """

    inputs: list[InputMessage] = field(default_factory=list)
    outputs: list[OutputMessage] = field(default_factory=list)
    system: list[SystemInstructionPart] = field(default_factory=list)
    tools: list[ToolDefinition] = field(default_factory=list)


# --- requests ---


def is_text(builder: Any) -> bool:
    """Return whether a chat request holds nothing but text, and is known to.

    Args:
        builder: The runtime's ``ChatRequestBuilder``.
    """
    messages, extra = getattr(builder, "_messages", None), getattr(builder, "_extra_params", None)
    if not isinstance(messages, list) or not isinstance(extra, dict):
        return False
    for value in extra.values():  # Messages in the provider's own words, perhaps.
        if isinstance(value, (list, tuple)):
            return False
    for message in messages:  # noqa: SIM110 - a generator for all() takes three times as long
        if not isinstance(getattr(message, "content", None), str):
            return False
    return True


def request_messages(builder: Any) -> tuple[list[InputMessage], list[SystemInstructionPart], list[ToolDefinition]]:
    """Return the messages, the system instructions and the tools of a chat request.

    Args:
        builder: The runtime's ``ChatRequestBuilder``. ``param()`` values win, as they do in the payload.
    """
    extra = get(builder, "_extra_params")
    messages = items(get(extra, "messages") or get(builder, "_messages"))
    instructions = [_instructions(get(extra, name)) for name in _SYSTEM_PARAMETERS]
    inputs, instructing = _newest(messages)
    instructions += map(_instructions, instructing)
    return inputs, joined(*instructions), _tool_definitions(get(extra, "tools") or get(builder, "_tools"))


def _newest(messages: Sequence[Any]) -> tuple[list[InputMessage], list[Any]]:
    """Return the newest messages, in their order, and apart from them those that instruct the model.

    Args:
        messages: Of which no more are looked at than may fit.
    """
    inputs: list[InputMessage] = []
    instructing: list[Any] = []
    position, room = len(messages), MAX_ITEMS
    while position and room > 0:
        position -= 1
        message = messages[position]
        role = _role(message)
        # The builder has a method of its own for them, and providers take them apart from the history.
        if role in _SYSTEM_ROLES:
            instructing.append(message)
            room -= _size(message)
            continue
        inputs.append(InputMessage(role=role, parts=_input_parts(message, role), name=string(get(message, "name"))))
        room -= 1 + len(inputs[-1].parts)
    head: list[Any] = []
    for message in messages[: min(_HEAD, position)]:
        if _role(message) in _SYSTEM_ROLES and sum(map(_size, head)) < MAX_ITEMS:
            head.append(message)
    return shortened(reversed(inputs), position - len(head)), [*head, *reversed(instructing)]


def _size(message: Any) -> int:
    return 1 + len(items(get(message, "content", "parts")))


def _role(message: Any) -> str:
    role = get(message, "role")
    return string(getattr(role, "value", role)) or "unknown"


def _instructions(value: Any) -> list[SystemInstructionPart]:
    content = value if isinstance(value, (str, list, tuple)) else get(value, "content", "parts")
    found = parts.parts(content)
    plain = (part if isinstance(part, TextPart) else GenericPart(type=part.type) for part in found)
    return shortened(plain, left_out_of(found))


def _input_parts(message: Any, role: str) -> list[MessagePart]:
    found = _message_parts(message)
    if role == Role.TOOL.value and not any(isinstance(part, ToolCallResponsePart) for part in found):
        return [parts.tool_result(get(message, "content"), get(message, "tool_call_id"))]
    return found


def _message_parts(message: Any) -> list[MessagePart]:
    reasoning = string(get(message, "reasoning_content", "reasoning"))
    refusal = string(get(message, "refusal"))
    return joined(
        [ReasoningPart(content=reasoning)] if reasoning else (),
        parts.parts(get(message, "content", "parts")),
        [TextPart(content=refusal)] if refusal else (),
        converted(parts.tool_call, items(get(message, "tool_calls"))),
    )


def _tool_definitions(tools: Any) -> list[ToolDefinition]:
    # Gemini's tools are lists of functions.
    given, room = items(tools), MAX_ITEMS
    lists = []
    for tool in given[:MAX_ITEMS]:
        lists.append(converted(_tool_definition, items(get(tool, "functionDeclarations")) or (tool,)))
        room -= 1 + len(lists[-1])
        if room <= 0:
            break
    return joined(*lists, shortened((), len(given) - len(lists)))


def _tool_definition(tool: Any) -> ToolDefinition | None:
    function, kind = get(tool, "function") or tool, string(get(tool, "type")) or "function"
    name = string(get(function, "name"))
    if kind != "function":
        return GenericToolDefinition(name=name or kind, type=kind)
    if name is None:
        return None
    schema = get(function, "parameters", "input_schema")
    return FunctionToolDefinition(name=name, description=string(get(function, "description")), parameters=schema)


# --- responses ---


def response_messages(response: Any) -> list[OutputMessage]:
    """Return the messages of the runtime's ``ChatResponse``: of all choices in its body, where its shape is known."""
    messages = _body_messages(get(response, "raw_response"))
    reason = finish_reason(get(response, "finish_reason"))
    if any(message.parts for message in messages):
        messages[0].finish_reason = messages[0].finish_reason or reason
        return messages
    # A manifest may find the answer elsewhere than in the shapes known here.
    calls = converted(parts.tool_call, items(get(response, "tool_calls")))
    found = joined(parts.parts(get(response, "content")), calls)
    if not found:
        return messages or ([output_message([], reason)] if reason else [])
    return [output_message(found, reason or next((message.finish_reason for message in messages), None))]


def finish_reason(reason: Any) -> str | None:
    """Return the conventions' name of a finish reason where they have one, else the provider's."""
    known = string(reason)
    return None if known is None else _FINISH_REASONS.get(known[:_LONGEST_REASON].lower(), known)


def _body_messages(body: Any) -> list[OutputMessage]:
    if not isinstance(body, Mapping):
        return []
    for choices, *members in _CHOICES:
        if found := items(get(body, choices)):
            return converted(partial(_choice, members), found)
    # One answer: the body itself, or a member of it.
    answer = _answer(get(body, "message") or body, get(body, "stop_reason", "finish_reason", "done_reason"))
    return [answer] if answer.parts else []


def _choice(members: Sequence[str], choice: Any) -> OutputMessage:
    message, reason = (get(choice, member) for member in members)
    return _answer(message, reason)


def _answer(message: Any, reason: Any) -> OutputMessage:
    return output_message(_message_parts(message), finish_reason(reason))


def output_message(found: list[MessagePart], reason: str | None) -> OutputMessage:
    """Return an answer of the model."""
    return OutputMessage(role=Role.ASSISTANT.value, parts=found, finish_reason=reason)
