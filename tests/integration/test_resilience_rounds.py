"""Components across rounds of instrumentation: older than it, in between, after it; and the global provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ai_lib_python.resilience import (
    Backpressure,
    CircuitBreakerConfig,
    ResilientConfig,
    ResilientExecutor,
)

from components import ALONE, GAUGES, breaker, limiter, refused, succeed, tripped
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from recorder import Recorder
from resilient import (  # noqa: F401 - a fixture
    measured,
    own_components,
    point,
    states,
)


@pytest.fixture
def later(recorder: Recorder) -> Iterator[Recorder]:
    """Providers that a test instruments by itself."""
    yield recorder
    AiLibInstrumentor().uninstrument()


def instrument(recorder: Recorder) -> None:
    AiLibInstrumentor().instrument(**recorder.providers)


# --- before, between and after ---


async def test_components_older_than_the_instrumentation_count_from_their_next_use(later: Recorder) -> None:
    own, bucket, queue = breaker(), limiter(), Backpressure()
    await tripped(own)
    await refused(own, 3)
    instrument(later)
    unknown = measured(later)
    await refused(own)
    await bucket.acquire()
    await queue.execute(succeed)

    assert unknown == {}
    found = measured(later)
    assert found.pop("ai_lib.rate_limiter.available") == [point(pytest.approx(2.0), executor=ALONE)]
    assert found == {
        "ai_lib.backpressure.in_flight": [point(0, executor=ALONE)],
        "ai_lib.backpressure.limit": [point(10, executor=ALONE)],
        "ai_lib.backpressure.wait": [point(1, executor=ALONE)],
        "ai_lib.circuit_breaker.rejections": [point(1, executor=ALONE)],
        "ai_lib.circuit_breaker.state": states(ALONE, "open"),
        "ai_lib.rate_limiter.wait": [point(1, executor=ALONE)],
    }


async def test_an_executor_older_than_the_instrumentation_gives_its_name_with_its_next_use(later: Recorder) -> None:
    executor = ResilientExecutor(ResilientConfig(circuit_breaker=CircuitBreakerConfig()), name="old")
    instrument(later)
    await executor.execute(succeed)

    assert measured(later) == {"ai_lib.circuit_breaker.state": states("old", "closed")}


async def test_a_trial_for_a_permit_is_a_use(later: Recorder) -> None:
    bucket, queue = limiter(), Backpressure()
    instrument(later)
    assert await bucket.try_acquire()
    assert await queue.try_acquire()

    assert measured(later) == {
        "ai_lib.backpressure.in_flight": [point(1, executor=ALONE)],
        "ai_lib.backpressure.limit": [point(10, executor=ALONE)],
        "ai_lib.rate_limiter.available": [point(pytest.approx(2.0), executor=ALONE)],
    }


async def test_gauges_are_silent_after_uninstrument_and_speak_again(later: Recorder) -> None:
    instrument(later)
    own, queue = breaker(), Backpressure()
    await tripped(own)
    await refused(own, 2)
    spoken = later.metric_names()
    AiLibInstrumentor().uninstrument()
    silent = later.metric_names()
    await refused(own, 5)  # Not this instrumentation's.
    async with queue.acquire():
        pass
    instrument(later)
    again = measured(later)
    await refused(own)

    assert set(spoken) - set(silent) == set(GAUGES[:3])
    state = states(ALONE, "open")
    assert again == {
        "ai_lib.backpressure.in_flight": [point(0, executor=ALONE)],
        "ai_lib.backpressure.limit": [point(10, executor=ALONE)],
        "ai_lib.circuit_breaker.rejections": [point(2, executor=ALONE)],
        "ai_lib.circuit_breaker.state": state,
        "ai_lib.circuit_breaker.transitions": [point(1, executor=ALONE, to="open")],
    }
    assert measured(later, "circuit_breaker.rejections", "circuit_breaker.state") == {
        "ai_lib.circuit_breaker.rejections": [point(3, executor=ALONE)],
        "ai_lib.circuit_breaker.state": state,
    }


async def test_other_providers_take_over_from_those_before(later: Recorder) -> None:
    earlier = Recorder()
    instrument(earlier)
    own = breaker()
    await tripped(own)
    AiLibInstrumentor().uninstrument()
    instrument(later)
    await refused(own)

    assert measured(earlier) == {"ai_lib.circuit_breaker.transitions": [point(1, executor=ALONE, to="open")]}
    assert measured(later) == {
        "ai_lib.circuit_breaker.rejections": [point(1, executor=ALONE)],
        "ai_lib.circuit_breaker.state": states(ALONE, "open"),
    }


# --- the global provider, which a process sets once ---

PRELUDE = """
import asyncio, json, logging
from opentelemetry import metrics
from recorder import Recorder
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from ai_lib_python.resilience import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError

logging.disable(logging.WARNING)
recorder, instrumentor = Recorder(), AiLibInstrumentor()
breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=60))

async def fail():
    raise ConnectionError

def refuse():
    try:
        asyncio.run(breaker.execute(fail))
    except (ConnectionError, CircuitOpenError):
        pass

def states():
    return {labels["state"]: value for labels, value in recorder.points("ai_lib.circuit_breaker.state")}

def rejections():
    return recorder.points("ai_lib.circuit_breaker.rejections")
"""
OPEN = {"closed": 0, "half_open": 0, "open": 1}


def run(script: str) -> Any:
    """Run a script in a fresh interpreter and return the JSON that it prints, and nothing else."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script], capture_output=True, text=True, env=environment, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_the_global_provider_may_come_after_the_instrumentation() -> None:
    before, after, silent, again, refused = run("""
instrumentor.instrument()
refuse()
before = states()
metrics.set_meter_provider(recorder.meter_provider)
refuse()
after = states()
instrumentor.uninstrument()
silent = states()
refuse()
instrumentor.instrument()
again = states()
refuse()
print(json.dumps([before, after, silent, again, rejections()]))
""")
    assert (before, after, silent, again) == ({}, OPEN, {}, OPEN)
    assert refused == [[{"executor": ALONE}, 2]]


def test_the_global_provider_may_be_there_before() -> None:
    first, silent, again = run("""
metrics.set_meter_provider(recorder.meter_provider)
instrumentor.instrument()
refuse()
first = states()
instrumentor.uninstrument()
silent = states()
instrumentor.instrument()
print(json.dumps([first, silent, states()]))
""")
    assert (first, silent, again) == (OPEN, {}, OPEN)


@pytest.mark.parametrize("rounds", ["{}, given", "given, {}"], ids=["then given", "first given"])
def test_a_provider_is_the_same_whether_it_is_given_or_global(rounds: str) -> None:
    assert run(f"""
metrics.set_meter_provider(recorder.meter_provider)
given = {{"meter_provider": recorder.meter_provider}}
seen = []
for arguments in ({rounds}):
    instrumentor.instrument(**arguments)
    refuse()
    seen.append(states())
    instrumentor.uninstrument()
print(json.dumps(seen))
""") == [OPEN, OPEN]
