"""What a request says, as it is when the call begins: what the application may change meanwhile, copied.

Texts cannot change, and are not copied; nor is more than ``fitting`` looks at.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from opentelemetry.util.genai.types import FunctionToolDefinition, ToolCallRequestPart, ToolCallResponsePart

from opentelemetry_instrumentation_ailib.fitting import DEFINED, MAX_DEPTH, members
from opentelemetry_instrumentation_ailib.messages import Conversation
from opentelemetry_instrumentation_ailib.parts import DIRECTION_CHARACTERS, PART_CHARACTERS
from opentelemetry_instrumentation_ailib.shortened import ShortenedMapping, left_out_of, shortened

# What does not change, or is told by its size alone.
_FIXED: Final = (str, int, float, bytes, bytearray, type(None), *DEFINED)


def as_sent(conversation: Conversation) -> Conversation:
    """Return a request's conversation, whose values are now copies of the application's own.

    Args:
        conversation: What ``messages`` made of the request, in which they are exchanged.
    """
    said, tools = _Snapshot(), _Snapshot()
    # In the order in which they are fitted, so that there is a copy of all for which there will be room.
    for message in reversed(conversation.inputs):
        for part in message.parts:
            if isinstance(part, ToolCallRequestPart):
                part.arguments = said.of(part.arguments)
            elif isinstance(part, ToolCallResponsePart):
                part.response = said.of(part.response)
    for tool in conversation.tools:
        if isinstance(tool, FunctionToolDefinition):
            tool.parameters = tools.of(tool.parameters)
    return conversation


class _Snapshot:
    """Copies the values of one direction, as long as there is room."""

    def __init__(self) -> None:
        # In pairs of characters: each value takes one at least.
        self._room = DIRECTION_CHARACTERS // 2

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return a value as it is now: lists as lists, and what has members as a mapping."""
        self._room -= 1
        if isinstance(value, str):
            # Half of its pairs, since a text may lose credentials before it is fitted.
            self._room -= min(len(value), PART_CHARACTERS) // 4
        if isinstance(value, _FIXED) or depth > MAX_DEPTH:
            return value
        if isinstance(value, Mapping):
            return self._mapping(value, depth + 1)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._items(value, depth + 1)
        found = members(value)
        return self._mapping(found, depth + 1) if found else value

    def _items(self, items: Collection[Any], depth: int) -> list[Any]:
        kept: list[Any] = []
        for each in items:
            if self._room <= 0:
                break
            kept.append(self.of(each, depth))
        return shortened(kept, len(items) - len(kept) + left_out_of(items))

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> ShortenedMapping:
        kept = ShortenedMapping()
        for key, each in value.items():
            if self._room <= 0:
                break
            kept[key] = self.of(each, depth)
        kept.left_out = len(value) - len(kept)
        return kept
