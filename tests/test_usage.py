"""Token usage in every provider's shape: exact counts of what is known, and nothing bad of anything else."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry_instrumentation_ailib.usage import Report, Usage, reported, usage
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


# --- reports of a stream, in parts ---


def total(*reports: Any) -> Usage:
    """Return what the reports of a stream come to."""
    together = Report()
    for each in reports:
        together = together.merged(reported(each))
    return together.usage


def test_a_later_report_overrides_what_it_knows() -> None:
    earlier = Usage(input=130, output=1, cache_read=100, cache_write=20)
    assert earlier.merged(Usage(output=5, reasoning=0)) == Usage(130, 5, 100, 20, 0)


def test_a_later_report_that_knows_nothing_changes_nothing() -> None:
    earlier = Usage(input=130, output=1)
    assert earlier.merged(Usage()) == earlier


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        pytest.param({"output_tokens": 7}, Usage(130, 7, 100, 20), id="output-alone"),
        pytest.param({"input_tokens": None, "output_tokens": 7}, Usage(130, 7, 100, 20), id="no-input"),
        pytest.param(
            {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0, "output_tokens": 7},
            Usage(130, 7, 100, 20),
            id="zeros",
        ),
        pytest.param({"input_tokens": 10, "output_tokens": 7}, Usage(130, 7, 100, 20), id="without-the-cached"),
        pytest.param(
            {"input_tokens": 11, "cache_read_input_tokens": 90, "output_tokens": 7},
            Usage(121, 7, 90, 20),
            id="without-those-written",
        ),
        pytest.param({**ANTHROPIC, "input_tokens": 30}, Usage(150, 5, 100, 20), id="all-of-it"),
        pytest.param({"input_tokens": 500, "output_tokens": 7}, Usage(620, 7, 100, 20), id="more-than-the-cached"),
        pytest.param({"prompt_tokens": 130, "completion_tokens": 7}, Usage(130, 7, 100, 20), id="in-another-shape"),
        pytest.param({"completion_tokens": 7}, Usage(130, 7, 100, 20), id="output-in-another-shape"),
    ],
)
def test_what_the_end_of_a_stream_leaves_out_of_its_input_is_as_its_beginning_said(
    end: dict[str, Any], expected: Usage
) -> None:
    assert total(ANTHROPIC, end) == expected


@pytest.mark.parametrize(
    "beginning",
    [
        {"cache_read_input_tokens": 100, "output_tokens": 1},
        {"input_tokens": 0, "cache_read_input_tokens": 100, "output_tokens": 1},
        {"input_tokens": None, "cache_read_input_tokens": 100, "cache_creation_input_tokens": None},
        {"input_tokens": 7, "cache_read_input_tokens": 100},
    ],
)
def test_cached_tokens_of_the_beginning_are_added_to_the_others_of_the_end(beginning: dict[str, Any]) -> None:
    assert total(beginning, {"input_tokens": 10, "output_tokens": 7}) == Usage(110, 7, cache_read=100)


def test_cached_tokens_of_the_end_are_added_to_the_others_of_the_beginning() -> None:
    end = {"cache_read_input_tokens": 100, "output_tokens": 7}
    assert total({"input_tokens": 10, "output_tokens": 1}, end) == Usage(110, 7, cache_read=100)


@pytest.mark.parametrize(
    ("before", "details"),
    [
        pytest.param(OPENAI, Usage(cache_read=8, reasoning=3), id="openai"),
        pytest.param(RESPONSES, Usage(cache_read=8, reasoning=3), id="responses"),
        pytest.param(
            {"input_tokens": 12, "input_tokens_details": {"cached_tokens": 12}}, Usage(cache_read=12), id="all-cached"
        ),
    ],
)
@pytest.mark.parametrize(
    ("end", "expected"),
    [
        pytest.param({"input_tokens": 12, "output_tokens": 7}, Usage(12, 7), id="without-the-details"),
        pytest.param({"input_tokens": 20, "output_tokens": 7}, Usage(20, 7), id="more"),
        pytest.param({"output_tokens": 7}, Usage(12, 7), id="output-alone"),
    ],
)
def test_cached_tokens_that_the_input_includes_are_not_added_when_it_is_reported_again(
    before: dict[str, Any], details: Usage, end: dict[str, Any], expected: Usage
) -> None:
    assert total(before, end) == details.merged(expected)


@pytest.mark.parametrize("report", [OPENAI, DEEPSEEK, ANTHROPIC, GEMINI, RESPONSES])
def test_a_report_that_comes_twice_is_one(report: dict[str, Any]) -> None:
    assert total(report, report) == usage(report)


# --- anything at all ---

TOKENS = st.integers(1, 2**30)


@st.composite
def parts(draw: st.DrawFn, counts: dict[str, Any]) -> list[dict[str, Any]]:
    """Draw the reports of a stream: each leaves out some counts, or has zeros, and none of them is in no report."""
    reports: list[dict[str, Any]] = [{} for _ in range(draw(st.integers(1, 4)))]
    for name, count in counts.items():
        known = draw(st.integers(0, len(reports) - 1))
        for index, report in enumerate(reports):
            if index == known or draw(st.booleans()):
                report[name] = count
            elif draw(st.booleans()):
                report[name] = draw(st.sampled_from([None, {}])) if isinstance(count, dict) else draw(_LESS)
    return reports


_LESS = st.sampled_from([None, 0, "many", -1])


@given(st.data(), TOKENS, TOKENS, TOKENS, TOKENS)
def test_anthropics_parts_come_to_their_sum_however_they_are_spread(
    data: st.DataObject, sent: int, output: int, read: int, write: int
) -> None:
    counts = {
        "input_tokens": sent,
        "output_tokens": output,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": write,
    }
    assert total(*data.draw(parts(counts))) == Usage(sent + read + write, output, read, write)


@given(st.data(), TOKENS, TOKENS, TOKENS)
def test_parts_of_openais_responses_come_to_what_the_input_says_however_they_are_spread(
    data: st.DataObject, uncached: int, output: int, read: int
) -> None:
    sent = uncached + read
    counts = {"input_tokens": sent, "output_tokens": output, "input_tokens_details": {"cached_tokens": read}}
    assert total(*data.draw(parts(counts))) == Usage(sent, output, cache_read=read)


@given(st.lists(OBJECTS | JSON, max_size=4))
def test_any_reports_yield_counts_or_nothing(reports: list[Any]) -> None:
    for count in total(*reports):
        check_count(count)


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
        assert getattr(merged, name) == (theirs or ours if ours is not None else theirs)
