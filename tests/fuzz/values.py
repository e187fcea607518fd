"""Values that have no business where they turn up: of any type, too long, not encodable, or a credential."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

SECRET = "sk/Wb4+rX8nQ1=vT6yM&3zL9kD~5jF2_hC7.pE0g"

TEXTS = st.sampled_from(
    ["", "stop", "tool_calls", "text", "\ud800", "\n\x00", "é" * 300, "7", SECRET, f"You sent {SECRET}!"]
)
NUMBERS = st.sampled_from([0, 1, 12, -1, 2**40, 2**65, 1.5, 12.0, float("inf"), float("nan")])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
NAMES = st.sampled_from(["id", "type", "content", "text", "index", "name", "error", "usage", "choices", "0", ""])
JUNK: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)


def mostly(usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any] = JUNK) -> st.SearchStrategy[Any]:
    """Return what is usually the one, and one time in eight the other."""
    return st.integers(0, 7).flatmap(lambda number: odd if number == 7 else usual)


def optional(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return dictionaries that have each of these or lack it."""
    return st.fixed_dictionaries({}, optional=values)


USAGES = st.one_of(
    optional(
        prompt_tokens=mostly(st.integers(0, 99)),
        completion_tokens=mostly(st.integers(0, 99)),
        total_tokens=mostly(st.integers(0, 99)),
        prompt_tokens_details=optional(cached_tokens=mostly(st.integers(0, 9))) | JUNK,
        completion_tokens_details=optional(reasoning_tokens=mostly(st.integers(0, 9))) | JUNK,
    ),
    optional(
        input_tokens=mostly(st.integers(0, 99)),
        output_tokens=mostly(st.integers(0, 99)),
        cache_read_input_tokens=mostly(st.integers(0, 9)),
        cache_creation_input_tokens=mostly(st.integers(0, 9)),
    ),
    optional(
        promptTokenCount=mostly(st.integers(0, 99)),
        candidatesTokenCount=mostly(st.integers(0, 99)),
        thoughtsTokenCount=mostly(st.integers(0, 9)),
        cachedContentTokenCount=mostly(st.integers(0, 9)),
    ),
)
"""Reports of tokens in the shape of OpenAI, Anthropic or Gemini, with values of any type."""
