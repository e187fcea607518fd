"""Which rule of a mapper, and which path in a frame, made an event of it. There is no record in here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple


class Match(NamedTuple):
    """What of a mapper matched a frame.

    Attributes:
        rule: A rule's condition, or what stands for it in a mapper without rules.
        path: The paths in the frame that were read, if any.
    """

    rule: str
    path: str | None


def matched_rule(mapper: Any, frame: Any, events: Collection[str] = ()) -> Match | None:
    """Return what of a mapper of the runtime matched a frame, or ``None`` where nothing did or the mapper is not known.

    The mapper is not called: it keeps a state, which all streams of a client share.

    Args:
        mapper: The mapper.
        frame: The frame.
        events: The types of the events it became, which tell the rule that made them from others that match.
    """
    find = _FINDERS.get(type(mapper).__name__)
    return find(mapper, frame, events) if find is not None and isinstance(frame, Mapping) else None


# What a rule has to find in a frame for an event, where its condition alone is not enough.
_NEEDED: Final = {
    "PartialContentDelta": ("content",),
    "ThinkingDelta": ("thinking",),
    "ToolCallStarted": ("tool_call_id", "tool_name"),
    "PartialToolCall": ("arguments", "tool_call_id"),
}


def _by_rules(mapper: Any, frame: Any, events: Collection[str]) -> Match | None:
    def likelihood(rule: Any) -> int:
        if rule["emit"] not in events:
            return 0
        needed = _NEEDED.get(rule["emit"])
        return 2 if needed is None or any(_value(frame, rule["fields"].get(name)) for name in needed) else 1

    matching = [rule for rule in mapper._compiled_rules if rule["matcher"](frame)]
    if not matching:
        return None
    # The first of the likeliest: the mapper tries its rules in their order.
    rule = max(matching, key=likelihood)
    paths = [path for path in rule["fields"].values() if _value(frame, path) is not None]
    return Match(rule["match"], ", ".join(paths) or None)


_PATHS: Final = ("content_path", "tool_call_path", "finish_reason_path", "usage_path")


def _by_paths(mapper: Any, frame: Any, events: Collection[str]) -> Match | None:
    if "error" in frame:
        return Match("error", "error")
    paths = {"reasoning_content": "choices[0].delta.reasoning_content"}
    paths |= {name: getattr(mapper, f"_{name}") for name in _PATHS}
    found = {name: path for name, path in paths.items() if _value(frame, path)}
    return Match(", ".join(found), ", ".join(found.values())) if found else None


_ANTHROPIC: Final = {
    "error": ("error",),
    "content_block_start": ("content_block",),
    "content_block_delta": ("delta.text", "delta.thinking", "delta.partial_json"),
    "content_block_stop": ("index",),
    "message_delta": ("delta.stop_reason", "usage"),
    "message_stop": (),
}


def _by_type(mapper: Any, frame: Any, events: Collection[str]) -> Match | None:
    kind = frame.get("type")
    if not isinstance(kind, str) or kind not in _ANTHROPIC:
        return None
    paths = [path for path in _ANTHROPIC[kind] if _value(frame, path) is not None]
    return Match(f"type == {kind}", ", ".join(paths) or None)


_FINDERS: Final[dict[str, Callable[[Any, Any, Collection[str]], Match | None]]] = {
    "ProtocolEventMapper": _by_rules,
    "DefaultEventMapper": _by_paths,
    "AnthropicEventMapper": _by_type,
}


def _value(frame: Any, path: Any) -> Any:
    from ai_lib_python.pipeline.select import get_value_at_path

    try:
        return get_value_at_path(frame, path) if path else None
    except ValueError:  # A bracket is not closed.
        return None
