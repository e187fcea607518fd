"""Token usage in every provider's shape: exact counts of what is known, and nothing bad of anything else."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry_instrumentation_ailib.usage import Usage, usage
from reports import ANTHROPIC, DEEPSEEK, GEMINI, HUGE, JSON, OBJECTS, OPENAI, RESPONSES, check_count


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        pytest.param(OPENAI, Usage(12, 5, cache_read=8, reasoning=3), id="openai"),
        pytest.param(DEEPSEEK, Usage(12, 5, cache_read=8, reasoning=2), id="deepseek"),
        pytest.param(ANTHROPIC, Usage(130, 5, cache_read=100, cache_write=20), id="anthropic"),
        pytest.param(GEMINI, Usage(12, 35, cache_read=8, reasoning=30), id="gemini"),
        pytest.param(RESPONSES, Usage(12, 5, cache_read=8, reasoning=3), id="responses"),
        pytest.param({"prompt_tokens": 12}, Usage(input=12), id="openai-embedding"),
        pytest.param({"completion_tokens": 5}, Usage(output=5), id="openai-output-only"),
        pytest.param({"input_tokens": 10, "output_tokens": 5}, Usage(10, 5), id="anthropic-uncached"),
        pytest.param({"output_tokens": 5}, Usage(output=5), id="anthropic-delta"),
        pytest.param({**RESPONSES, "prompt_tokens": None}, Usage(12, 5, cache_read=8, reasoning=3), id="both-names"),
        pytest.param({"promptTokenCount": 12}, Usage(input=12), id="gemini-first-frame"),
        pytest.param(
            {"promptTokenCount": 12, "thoughtsTokenCount": 30}, Usage(12, 30, reasoning=30), id="gemini-thoughts-only"
        ),
        pytest.param({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0), id="zero-is-known"),
        pytest.param({"prompt_tokens": 12.0, "completion_tokens": 5.0}, Usage(12, 5), id="whole-floats"),
    ],
)
def test_usage_is_read_in_every_providers_shape(report: Any, expected: Usage) -> None:
    assert usage(report) == expected


@pytest.mark.parametrize(
    "bad", [None, -1, "12", 1.5, math.nan, math.inf, True, HUGE, 10**40, 1e300, [], {}, {"a": [1]}, [[12]]], ids=repr
)
def test_a_count_that_is_none_is_not_known(bad: Any) -> None:
    """A bad count is left out, and takes no good one with it."""
    details = {"prompt_tokens_details": {"cached_tokens": bad}, "completion_tokens_details": bad}
    assert usage({"prompt_tokens": bad, "completion_tokens": 5, **details}) == Usage(output=5)
    assert usage({"prompt_tokens": 12, "completion_tokens": bad, **details}) == Usage(input=12)
    assert usage({"input_tokens": bad, "output_tokens": 5}) == Usage(output=5)
    assert usage({"input_tokens": 12, "cache_read_input_tokens": bad}) == Usage(input=12)
    assert usage({"promptTokenCount": bad, "candidatesTokenCount": 5, "thoughtsTokenCount": bad}) == Usage(output=5)


@pytest.mark.parametrize("report", [None, {}, [], [1], "12", 12, True, {"tokens": 12}, {1: 2}, {"usage": OPENAI}])
def test_what_is_no_usage_report_says_nothing(report: Any) -> None:
    assert usage(report) == Usage()


def test_a_sum_that_no_attribute_can_carry_is_not_known() -> None:
    report = {"input_tokens": HUGE - 1, "cache_read_input_tokens": 1, "output_tokens": 5}
    assert usage(report) == Usage(output=5, cache_read=1)


def test_a_later_report_overrides_what_it_knows() -> None:
    earlier = Usage(input=130, output=1, cache_read=100, cache_write=20)
    assert earlier.merged(Usage(output=5, reasoning=0)) == Usage(130, 5, 100, 20, 0)


def test_a_later_report_that_knows_nothing_changes_nothing() -> None:
    earlier = Usage(input=130, output=1)
    assert earlier.merged(Usage()) == earlier


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        pytest.param({"output_tokens": 7}, Usage(output=7), id="output-alone"),
        pytest.param({"input_tokens": None, "output_tokens": 7}, Usage(output=7), id="no-input"),
        pytest.param(
            {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0, "output_tokens": 7},
            Usage(output=7),
            id="zeros",
        ),
        pytest.param({"input_tokens": 10, "output_tokens": 7}, Usage(130, 7), id="without-the-cached"),
        pytest.param(
            {"input_tokens": 11, "cache_read_input_tokens": 90, "output_tokens": 7},
            Usage(121, 7, cache_read=90),
            id="without-those-written",
        ),
        pytest.param({**ANTHROPIC, "input_tokens": 30}, Usage(150, 5, 100, 20), id="all-of-it"),
    ],
)
def test_what_the_end_of_a_stream_leaves_out_of_its_input_is_as_its_beginning_said(
    end: dict[str, Any], expected: Usage
) -> None:
    assert usage(end, usage(ANTHROPIC)) == expected


@pytest.mark.parametrize("before", [OPENAI, RESPONSES], ids=["openai", "responses"])
@pytest.mark.parametrize(
    ("end", "expected"),
    [
        pytest.param(RESPONSES, Usage(12, 5, cache_read=8, reasoning=3), id="all-of-it-again"),
        pytest.param({"input_tokens": 12, "output_tokens": 7}, Usage(12, 7), id="without-the-details"),
        pytest.param({"input_tokens": 20, "output_tokens": 7}, Usage(20, 7), id="more"),
        pytest.param({"output_tokens": 7}, Usage(output=7), id="output-alone"),
    ],
)
def test_cached_tokens_that_the_input_includes_are_not_added_when_it_is_reported_again(
    before: dict[str, Any], end: dict[str, Any], expected: Usage
) -> None:
    assert usage(end, usage(before)) == expected


@given(OBJECTS | JSON)
def test_any_usage_report_yields_counts_or_nothing(report: Any) -> None:
    for count in usage(report):
        check_count(count)


COUNTS = st.none() | st.integers(0, 2**63 - 1)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)


@given(USAGES, USAGES)
def test_merging_keeps_what_only_the_earlier_report_knew(earlier: Usage, later: Usage) -> None:
    merged = earlier.merged(later)
    for name in ("input", "output", "cache_read", "cache_write", "reasoning"):
        ours, theirs = getattr(earlier, name), getattr(later, name)
        assert getattr(merged, name) == (ours if theirs is None else theirs)
