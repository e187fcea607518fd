"""What may leave the process of a conversation: a bounded part of it, without secrets, in valid UTF-8."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, get_args

from opentelemetry.util.genai.types import (
    FunctionToolDefinition,
    GenericToolDefinition,
    InputMessage,
    MessagePart,
    OutputMessage,
    Role,
    TextPart,
)
from opentelemetry.util.genai.utils import object_to_any_value

from opentelemetry_instrumentation_ailib import naming
from opentelemetry_instrumentation_ailib.masking import MIN_SECRET, forms, redacted
from opentelemetry_instrumentation_ailib.messages import Conversation
from opentelemetry_instrumentation_ailib.parts import DIRECTION_CHARACTERS, PART_CHARACTERS, Truncated
from opentelemetry_instrumentation_ailib.shortened import left_out_of

# For what is said about what is left out.
_RESERVE: Final = 1_024
# Less room than this is none.
_MIN_ROOM: Final = 256
_MARKER: Final = 48
# Deeper than schemas of tools are, and far from the hundred levels at which parsers of OTLP stop: a value takes three
# of them for each of its own.
MAX_DEPTH: Final = 16
_MAX_KEY: Final = 256
_MAX_INTEGER: Final = 2**63

# The methods by which objects say what they are made of, and which are not called.
_DUMPS: Final = ("model_dump", "dict", "to_dict")

# What the conventions define, which stays what it is; objects of any other class become values.
DEFINED: Final = (InputMessage, OutputMessage, FunctionToolDefinition, GenericToolDefinition, *get_args(MessagePart))


def fitted(conversation: Conversation, *secrets: str | None) -> Conversation:
    """Return a conversation as it may leave the process. What is cut says how much was left out.

    Of the inputs the newest messages are kept, of everything else what comes first.

    Args:
        conversation: What requests, responses and streams say. It is left as it is.
        secrets: The credentials of the requests, taken out wherever they are quoted.
    """
    # One may begin with another.
    known = forms(*(secret for secret in secrets if secret and len(secret) >= MIN_SECRET))
    return Conversation(
        inputs=_Fitting(known).items(conversation.inputs, _earlier, newest_first=True),
        outputs=_Fitting(known).items(conversation.outputs, _further),
        system=_Fitting(known).items(conversation.system, _part),
        tools=_Fitting(known).items(conversation.tools, _tool),
    )


# What stands for items that are left out, by their number.


def _text(count: int) -> str:
    return f"[{count} more left out]"


def _part(count: int) -> TextPart:
    return TextPart(content=_text(count))


def _tool(count: int) -> GenericToolDefinition:
    return GenericToolDefinition(name=_text(count), type="function")


def _further(count: int) -> OutputMessage:
    return OutputMessage(role=Role.ASSISTANT.value, parts=[_part(count)])


def _earlier(count: int) -> InputMessage:
    return InputMessage(role=Role.SYSTEM.value, parts=[TextPart(content=f"[earlier messages left out: {count}]")])


def members(value: Any) -> dict[str, Any] | None:
    """Return what an object is made of, where it is made of members; one level, and by none of its own methods.

    Those, and whoever follows each way through objects that know each other, could take any time. Classes and functions
    have members, and are not made of them.
    """
    if callable(value):
        return None
    try:
        names = [each.name for each in fields(value)] if is_dataclass(value) else list(value.__dict__)
        public = {name: getattr(value, name, None) for name in names if not name.startswith("_")}
        return public if public or any(hasattr(value, name) for name in _DUMPS) else None
    except Exception:
        return None


def _key(key: Any) -> str:
    return type(key).__name__ if members(key) else str(object_to_any_value(key))


class _Fitting:
    """Takes over the values of one direction, as long as there is room.

    Args:
        secrets: In all their forms.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets
        self._longest = max(map(len, secrets), default=0)
        self._room = DIRECTION_CHARACTERS - _RESERVE

    def items(
        self, items: Sequence[Any], left_out: Callable[[int], Any], *, newest_first: bool = False, depth: int = 0
    ) -> list[Any]:
        """Return the items that there is room for, and what stands for the others."""
        kept: list[Any] = []
        self._room -= 2
        for item in reversed(items) if newest_first else items:
            if self._room < _MIN_ROOM:
                break
            self._room -= 1
            kept.append(self._value(item, depth))
        missing = len(items) - len(kept) + left_out_of(items)
        if missing:
            kept.append(left_out(missing))
        return kept[::-1] if newest_first else kept

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, (int, float)) or value is None:
            return self._scalar(value)
        if isinstance(value, DEFINED):
            return self._defined(value, depth)
        if depth > MAX_DEPTH:
            return self._string("[nested too deeply]")
        if isinstance(value, Mapping):
            return self._mapping(value, depth + 1)
        if isinstance(value, (list, tuple)):
            return self.items(value, _text, depth=depth + 1)
        if isinstance(value, (bytes, bytearray)):
            return self._string(f"[bytes left out: {len(value)}]") if value else b""
        return self._object(value, depth)

    def _object(self, value: Any, depth: int) -> Any:
        if isinstance(value, (set, frozenset)):
            return self.items(list(value), _text, depth=depth + 1)
        found = members(value)
        if found:
            return self._mapping(found, depth + 1)
        if found is not None:
            return self._string(f"[{type(value).__name__} left out]")
        return self._value(object_to_any_value(value), depth + 1)

    def _defined(self, value: Any, depth: int) -> Any:
        taken: dict[str, Any] = {}
        for field in fields(value):
            self._room -= len(field.name) + 4
            content = getattr(value, field.name)
            if field.name == "parts":
                taken[field.name] = self.items(content, _part, depth=depth)
            else:
                taken[field.name] = self._value(content, depth)
        return replace(value, **taken)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        taken: dict[str, Any] = {}
        left_out = left_out_of(value)
        self._room -= 2
        for key, each in value.items():
            if self._room < _MIN_ROOM:
                left_out += len(value) - len(taken)
                break
            self._room -= 2
            # The SDK complains of keys that are empty or no strings.
            name = self._string(key if isinstance(key, str) else _key(key), _MAX_KEY)
            taken[name or '""'] = self._value(each, depth)
        if left_out:
            taken["..."] = self._string(_text(left_out))
        return taken

    def _scalar(self, value: int | float | None) -> Any:
        if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
            return self._string(f"[integer of {value.bit_length()} bits]")
        text = str(value)
        if redacted(text, self._secrets) != text or (isinstance(value, float) and not math.isfinite(value)):
            return self._string(text)
        self._room -= len(text)
        return value

    def _string(self, value: str, limit: int = PART_CHARACTERS) -> str:
        limit = max(min(limit, self._room), _MARKER)
        seen = naming.bounded(value, limit + self._longest)
        unseen = len(value) - len(seen) + (value.left_out if isinstance(value, Truncated) else 0)
        text = redacted(seen, self._secrets)
        # Where more follows, what ends the text may be the beginning of a secret.
        end = min(limit, len(text) - self._longest if unseen else len(text))
        if unseen or end < len(text):
            end = max(min(end, limit - _MARKER), 0)
            text = f"{text[:end]} [characters left out: {len(text) - end + unseen}]"
        self._room -= len(text) + 2
        return text
