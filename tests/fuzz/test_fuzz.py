"""Generated scenarios: what an application sees is the same without and with us, and what we say of it adds up."""

from __future__ import annotations

import os

from checks import check
from hypothesis import HealthCheck, given, settings
from play import play, play_over_a_socket
from scenarios import OF_BOTH, OF_CALLS, OF_STREAMS, WITHOUT_WAITS, Scenario

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))


def examples(count: int) -> settings:
    """Return settings for so many examples, or for many times as many in a longer run."""
    return settings(max_examples=count * TIMES, deadline=None, suppress_health_check=list(HealthCheck))


@examples(50)
@given(OF_CALLS)
def test_calls(scenario: Scenario) -> None:
    check(play(scenario))


@examples(80)
@given(OF_STREAMS)
def test_streams(scenario: Scenario) -> None:
    check(play(scenario))


@examples(30)
@given(OF_BOTH)
def test_calls_and_streams(scenario: Scenario) -> None:
    check(play(scenario))


@examples(10)
@given(WITHOUT_WAITS)
def test_a_provider_behind_a_socket(scenario: Scenario) -> None:
    check(play_over_a_socket(scenario), timed=False)
