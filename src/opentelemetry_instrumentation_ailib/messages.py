"""What is said in a chat call, as the messages that the GenAI conventions define: requests and responses.

Everything takes what comes: wrong types and shapes yield less, never an error. Nothing is cut or copied here: what
leaves the process of it is up to ``fitting``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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

_SYSTEM_ROLES: Final = ("system", "developer")
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


def request_messages(builder: Any) -> tuple[list[InputMessage], list[SystemInstructionPart], list[ToolDefinition]]:
    """Return the messages, the system instructions and the tools of a chat request.

    Args:
        builder: The runtime's ``ChatRequestBuilder``. ``param()`` values win, as they do in the payload.
    """
    extra = get(builder, "_extra_params")
    inputs: list[InputMessage] = []
    system = [part for name in _SYSTEM_PARAMETERS for part in _instructions(get(extra, name))]
    for message in items(get(extra, "messages") or get(builder, "_messages")):
        role = get(message, "role")
        role = string(getattr(role, "value", role)) or "unknown"
        # The builder has a method of its own for them, and providers take them apart from the history.
        if role in _SYSTEM_ROLES:
            system += _instructions(message)
        else:
            inputs.append(InputMessage(role=role, parts=_input_parts(message, role), name=string(get(message, "name"))))
    return inputs, system, _tool_definitions(get(extra, "tools") or get(builder, "_tools"))


def _instructions(value: Any) -> list[SystemInstructionPart]:
    content = value if isinstance(value, (str, list, tuple)) else get(value, "content", "parts")
    return [part if isinstance(part, TextPart) else GenericPart(type=part.type) for part in parts.parts(content)]


def _input_parts(message: Any, role: str) -> list[MessagePart]:
    found = _message_parts(message)
    if role == Role.TOOL.value and not any(isinstance(part, ToolCallResponsePart) for part in found):
        return [parts.tool_result(get(message, "content"), get(message, "tool_call_id"))]
    return found


def _message_parts(message: Any) -> list[MessagePart]:
    reasoning = string(get(message, "reasoning_content", "reasoning"))
    refusal = string(get(message, "refusal"))
    return [
        *([ReasoningPart(content=reasoning)] if reasoning else ()),
        *parts.parts(get(message, "content", "parts")),
        *([TextPart(content=refusal)] if refusal else ()),
        *(parts.tool_call(call) for call in items(get(message, "tool_calls"))),
    ]


def _tool_definitions(tools: Any) -> list[ToolDefinition]:
    # Gemini's tools are lists of functions.
    given = (each for tool in items(tools) for each in items(get(tool, "functionDeclarations")) or (tool,))
    return [found for each in given if (found := _tool_definition(each)) is not None]


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
    found = [*parts.parts(get(response, "content")), *map(parts.tool_call, items(get(response, "tool_calls")))]
    if not found:
        return messages or ([output_message([], reason)] if reason else [])
    return [output_message(found, reason or next((message.finish_reason for message in messages), None))]


def finish_reason(reason: Any) -> str | None:
    """Return the conventions' name of a finish reason where they have one, else the provider's."""
    known = string(reason)
    return None if known is None else _FINISH_REASONS.get(known.lower(), known)


def _body_messages(body: Any) -> list[OutputMessage]:
    if not isinstance(body, Mapping):
        return []
    for choices, message, reason in _CHOICES:
        if found := items(get(body, choices)):
            return [_answer(get(choice, message), get(choice, reason)) for choice in found]
    # One answer: the body itself, or a member of it.
    answer = _answer(get(body, "message") or body, get(body, "stop_reason", "finish_reason", "done_reason"))
    return [answer] if answer.parts else []


def _answer(message: Any, reason: Any) -> OutputMessage:
    return output_message(_message_parts(message), finish_reason(reason))


def output_message(found: list[MessagePart], reason: str | None) -> OutputMessage:
    """Return an answer of the model."""
    return OutputMessage(role=Role.ASSISTANT.value, parts=found, finish_reason=reason)
