"""What providers report of the tokens they took, each in its own shape, and objects that are anyone's guess."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

HUGE = 2**63

OPENAI = {
    "prompt_tokens": 12,
    "completion_tokens": 5,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3, "accepted_prediction_tokens": 0},
}
DEEPSEEK = {
    "prompt_tokens": 12,
    "completion_tokens": 5,
    "prompt_cache_hit_tokens": 8,
    "prompt_cache_miss_tokens": 4,
    "completion_tokens_details": {"reasoning_tokens": 2},
}
ANTHROPIC = {
    "input_tokens": 10,
    "output_tokens": 5,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 20,
    "service_tier": "standard",
}
GEMINI = {
    "promptTokenCount": 12,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 30,
    "cachedContentTokenCount": 8,
    "totalTokenCount": 47,
}
RESPONSES = {
    "input_tokens": 12,
    "output_tokens": 5,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens_details": {"reasoning_tokens": 3},
}

WORDS = (
    "usage", "usageMetadata", "message", "id", "model", "responseId", "modelVersion", "choices", "finish_reason",
    "response_format", "type", "temperature", "top_p", "top_k", "max_tokens", "seed", "stop", "n", "reasoning_effort",
    "prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details", "cached_tokens",
    "reasoning_tokens", "prompt_cache_hit_tokens", "input_tokens", "output_tokens", "cache_read_input_tokens",
    "cache_creation_input_tokens", "input_tokens_details", "output_tokens_details", "promptTokenCount",
    "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount",
)  # fmt: skip
TEXT = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=20) | st.just("\ud800" * 300)
NUMBERS = st.integers() | st.floats() | st.sampled_from([HUGE - 1, HUGE, -HUGE - 1, 10**400, 1e300])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | TEXT, inner, max_size=6),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(WORDS), JSON, max_size=8)


def check_count(value: Any) -> None:
    assert value is None or (type(value) is int and 0 <= value < 2**63)
