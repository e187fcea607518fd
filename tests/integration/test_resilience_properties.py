"""Whatever the provider answers and however a client is set up, the books balance."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ai_lib_python.resilience import CircuitBreakerConfig, CircuitOpenError
from hypothesis import given, settings
from hypothesis import strategies as st

from differential import encoded, instrumentation
from opentelemetry_instrumentation_ailib import naming
from provider import Step, body, completion
from recorder import Recorder
from resilient import BROKEN, Seen, fast, refusal, seen, served

ANSWERS: dict[str, list[Step]] = {
    "answer": body(completion()),
    "broken": BROKEN,
    **{str(status): refusal(status) for status in (400, 429, 500, 503)},
}
SAME, NOWHERE = "openai/gpt-4o", "nowhere/m"
FALLBACKS = ("anthropic/claude", "selective/org/m", NOWHERE, SAME)


@dataclass(frozen=True)
class Setting:
    """How a client is set up, and what it meets."""

    answers: list[str]
    retries: int | None
    threshold: int | None
    fallbacks: list[str]
    calls: int

    def resilience(self) -> dict[str, Any]:
        """Return the arguments of ``ResilientConfig``."""
        found: dict[str, Any] = {}
        if self.retries is not None:
            found["retry"] = fast(self.retries, max_delay_ms=0)
        if self.threshold is not None:
            found["circuit_breaker"] = CircuitBreakerConfig(self.threshold, 1, cooldown_seconds=0)
        return found


SETTINGS = st.builds(
    Setting,
    answers=st.lists(st.sampled_from(sorted(ANSWERS)), min_size=1, max_size=6),
    retries=st.none() | st.integers(0, 2),
    threshold=st.none() | st.integers(1, 3),
    fallbacks=st.lists(st.sampled_from(FALLBACKS), max_size=3),
    calls=st.integers(1, 3),
)


async def observe(setting: Setting) -> tuple[Recorder, int, list[Any], Any]:
    """Make the calls; return what is recorded, the number of requests, what the calls came to, and the executor."""
    recorder = Recorder()
    with instrumentation(recorder):
        scripts = [ANSWERS[name] for name in setting.answers]
        async with served(*scripts, fallbacks=setting.fallbacks, **setting.resilience()) as (server, ai):
            recorder.clear()
            calls = [
                await asyncio.gather(ai.chat().user("?").execute(), return_exceptions=True)
                for _ in range(setting.calls)
            ]
    return recorder, len(server.requests), [outcome for (outcome,) in calls], ai._executor


def named(span: Seen, name: str) -> list[Seen]:
    return [child for child in span.children if child.name == f"ai_lib.{name}"]


def total(recorder: Recorder, name: str) -> int:
    return sum(value for _, value in recorder.points(f"ai_lib.{name}"))


def assert_a_span_balances(span: Seen, setting: Setting) -> None:
    kinds = Counter(name for name, _ in span.events)
    sent = named(span, "http.transport")
    assert span.name == "chat gpt-4o"
    # Nobody is told when the model that was asked for is its own fallback.
    reasons = 1 + len(span.events)
    assert span.attributes["ai_lib.attempts"] == len(sent) <= reasons + setting.fallbacks.count(SAME)
    if setting.threshold is None and not {SAME, NOWHERE} & set(setting.fallbacks):
        assert len(sent) == reasons
    assert span.attributes.get("ai_lib.fallback.count", 0) == kinds["ai_lib.fallback"]
    assert len(named(span, "protocol.load")) == kinds["ai_lib.fallback"]
    assert len(named(span, "request.compile")) == len(sent)
    assert len(named(span, "pipeline.process")) == sum(not child.failed for child in sent)
    resent = [child.attributes.get("http.request.resend_count") for child in sent]
    assert resent == [None, *range(1, len(sent))][: len(sent)]
    assert span.failed is ("error.type" in span.attributes)
    failed = [child.attributes["error.type"] for child in span.children if child.failed]
    retried = [event["error.type"] for name, event in span.events if name == "ai_lib.retry"]
    assert Counter(retried) <= Counter(failed)


def assert_the_metrics_balance(recorder: Recorder, spans: list[Seen], outcomes: list[Any], setting: Setting) -> None:
    events = Counter(name for span in spans for name, _ in span.events)
    kinds = recorder.counts("ai_lib.attempts", "kind")
    types = recorder.counts("ai_lib.attempts", "type")
    sent = [child for span in spans for child in named(span, "http.transport")]
    assert total(recorder, "requests") == len(spans) == len(outcomes)
    assert total(recorder, "requests.in_flight") == 0
    assert total(recorder, "attempts") == len(sent)
    assert types == Counter(child.attributes.get("error.type", "ok") for child in sent)
    assert total(recorder, "retries") == total(recorder, "retry.delay") == events["ai_lib.retry"]
    assert total(recorder, "fallbacks") == events["ai_lib.fallback"]
    assert kinds["fallback"] <= events["ai_lib.fallback"]
    if SAME not in setting.fallbacks:
        assert kinds["initial"] <= len(spans)
    assert (
        kinds["retry"] >= events["ai_lib.retry"]
        if SAME in setting.fallbacks
        else kinds["retry"] == events["ai_lib.retry"]
    )
    failures = [naming.failure_type(outcome) for outcome in outcomes if isinstance(outcome, Exception)]
    assert recorder.counts("ai_lib.errors", "type") == Counter(failures)
    assert Counter(span.attributes.get("error.type") for span in spans if span.failed) == Counter(failures)
    stages = Counter(child.attributes["ai_lib.stage"] for span in spans for child in span.children)
    stages["protocol.load"] += 1  # The client's own.
    assert recorder.counts("ai_lib.stage.duration", "stage") == stages


@settings(max_examples=40, deadline=None)
@given(setting=SETTINGS)
def test_what_is_counted_is_what_happened(setting: Setting) -> None:
    recorder, requests, outcomes, executor = asyncio.run(observe(setting))

    spans = seen(recorder)
    for span in spans:
        assert_a_span_balances(span, setting)
    assert total(recorder, "attempts") == requests
    assert_the_metrics_balance(recorder, spans, outcomes, setting)
    if setting.threshold is not None:
        stats = executor._circuit_breaker.get_stats()
        assert total(recorder, "circuit_breaker.transitions") == stats.state_changes
        assert total(recorder, "circuit_breaker.rejections") == stats.rejected_requests
        assert all(isinstance(it, CircuitOpenError) for it in outcomes) or requests
    assert encoded(recorder)
