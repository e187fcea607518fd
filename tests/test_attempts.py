"""Exchanges, retries and fallbacks as an operation counts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from ai_lib_python.errors import RemoteError
from hypothesis import given
from hypothesis import strategies as st

from conftest import client
from differential import encoded
from opentelemetry_instrumentation_ailib import AiLibInstrumentor, semconv
from opentelemetry_instrumentation_ailib.attempts import Attempts, note_fallback, note_retry, record_fallback
from opentelemetry_instrumentation_ailib.operation import Operation, current_operation
from provider import completion
from recorder import Recorder
from resilient import GPT, Seen, measured, point, points, retried, seen, turned

URL = "https://api.openai.example/v1"
SECRET = "sk-secret-in-a-message"
LIMITED = RemoteError.from_response(429, {"error": {"message": SECRET}})


async def during(recorder: Recorder, act: Callable[[Operation], None]) -> Seen:
    """Do something while an exchange is on its way, and return the operation that it is part of."""

    def answer(_: httpx.Request) -> httpx.Response:
        operation = current_operation()
        assert operation is not None
        act(operation)
        return httpx.Response(200, json=completion())

    ai = await client(base_url=URL)
    ai._transport._client = httpx.AsyncClient(base_url=URL, transport=httpx.MockTransport(answer))
    await ai.chat().user("Hello?").execute()
    await ai.close()
    (call,) = (span for span in seen(recorder) if span.name == "chat gpt-4o")
    assert SECRET.encode() not in encoded(recorder)
    return call


# --- what kind of attempt ---


def test_the_first_exchange_is_the_initial_one() -> None:
    attempts = Attempts("openai/gpt-4o")
    assert attempts.begin() == "initial"
    assert (attempts.count, attempts.resends) == (1, 0)


def test_exchanges_that_follow_successes_send_nothing_again() -> None:
    attempts = Attempts("openai/gpt-4o")
    assert [attempts.begin() for _ in range(3)] == ["initial"] * 3
    assert (attempts.count, attempts.resends) == (3, 0)


def test_an_exchange_that_follows_a_failure_is_a_retry_whoever_decided_on_it() -> None:
    attempts = Attempts("openai/gpt-4o")
    kinds = [attempts.begin()]
    attempts.failed = True
    kinds.append(attempts.begin())
    attempts.failed = False
    kinds.append(attempts.begin())
    assert kinds == ["initial", "retry", "initial"]
    assert (attempts.count, attempts.resends) == (3, 1)


def test_a_decision_counts_for_one_exchange_and_before_a_failure() -> None:
    attempts = Attempts("openai/gpt-4o")
    kinds = [attempts.begin()]
    attempts.failed, attempts.pending = True, semconv.FALLBACK
    kinds += [attempts.begin(), attempts.begin()]
    assert kinds == ["initial", "fallback", "retry"]
    assert (attempts.count, attempts.resends) == (3, 2)


@given(st.lists(st.tuples(st.sampled_from([None, semconv.RETRY, semconv.FALLBACK]), st.booleans())))
def test_all_but_initial_exchanges_are_resends(course: list[tuple[str | None, bool]]) -> None:
    attempts, kinds = Attempts("openai/gpt-4o"), []
    for pending, failed in course:
        attempts.pending = pending
        kinds.append(attempts.begin())
        attempts.failed = failed
    assert (attempts.count, attempts.pending) == (len(course), None)
    assert attempts.resends == len(course) - kinds.count("initial")


# --- retries ---


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LIMITED, "rate_limited"),
        (TimeoutError(SECRET), "timeout"),
        (KeyError(SECRET), "KeyError"),
        (httpx.ConnectError(SECRET), "httpx.ConnectError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_retry_is_told_by_the_type_of_its_error(instrumented: Recorder, error: Exception, kind: str) -> None:
    call = await during(instrumented, lambda operation: note_retry(operation, 2, error, 1.5))

    assert call.events == [retried(2, 1.5, kind)]
    assert measured(instrumented, "retries", "retry.delay") == {
        "ai_lib.retries": [point(1, GPT, type=kind)],
        "ai_lib.retry.delay": [point(1, GPT, type=kind)],
    }
    assert instrumented.sums("ai_lib.retry.delay") == [({**GPT, "type": kind}, 1.5)]


async def test_a_retry_decides_on_the_next_exchange(instrumented: Recorder) -> None:
    kept: list[Any] = []

    def act(operation: Operation) -> None:
        note_retry(operation, 1, LIMITED, 0.0)
        kept.append([operation.attempts.pending, operation.attempts.retries, operation.stage])

    await during(instrumented, act)
    assert kept == [["retry", 1, "resilience"]]


# --- fallbacks ---


def turn(operation: Operation, target: Any, error: BaseException | None, provider: str | None = None) -> None:
    """Turn to another model, whose manifest has been loaded, or not."""
    known = note_fallback(operation, target, error)
    assert known is not None
    record_fallback(operation, known, provider)


async def test_each_fallback_turns_from_the_model_before(instrumented: Recorder) -> None:
    def act(operation: Operation) -> None:
        turn(operation, "anthropic/claude", LIMITED)
        turn(operation, "openrouter/org/m", None)

    call = await during(instrumented, act)
    assert call.events == [
        turned("openai/gpt-4o", "anthropic/claude", "rate_limited"),
        turned("anthropic/claude", "openrouter/org/m", "_OTHER"),
    ]
    assert call.attributes["ai_lib.fallback.count"] == 2
    assert call.attributes["ai_lib.fallback.model"] == "org/m"
    assert measured(instrumented, "fallbacks") == {
        "ai_lib.fallbacks": points(
            point(1, {"from": "openai/gpt-4o", "to": "anthropic/claude"}, type="rate_limited"),
            point(1, {"from": "anthropic/claude", "to": "openrouter/org/m"}, type="_OTHER"),
        )
    }


@pytest.mark.parametrize(
    ("asked", "known"),
    [("claude/opus", "anthropic/opus"), ("claude/org/m", "anthropic/org/m"), ("opus", "anthropic/opus")],
)
async def test_a_provider_that_is_asked_for_by_an_alias_is_called_by_its_manifests_id(
    instrumented: Recorder, asked: str, known: str
) -> None:
    def act(operation: Operation) -> None:
        turn(operation, asked, LIMITED, "anthropic")
        turn(operation, "p/m", LIMITED)

    call = await during(instrumented, act)
    assert call.events == [turned("openai/gpt-4o", known, "rate_limited"), turned(known, "p/m", "rate_limited")]


async def test_a_loader_that_asks_again_for_an_alias_turns_once(instrumented: Recorder) -> None:
    again: list[Any] = []

    def act(operation: Operation) -> None:
        turn(operation, "claude/opus", LIMITED, "anthropic")
        again.append(note_fallback(operation, "claude/opus", LIMITED))

    call = await during(instrumented, act)
    assert again == [None]
    assert call.attributes["ai_lib.fallback.count"] == 1


@pytest.mark.parametrize(
    ("target", "known"),
    [("", "_OTHER"), (None, "_OTHER"), ("m", "m"), ("p/" + "x" * 1000, "p/" + "x" * 254), ("p/\ud800", "p/?")],
    ids=["empty", "none", "no provider", "long", "surrogate"],
)
async def test_the_name_of_a_fallback_is_bounded_text(instrumented: Recorder, target: Any, known: str) -> None:
    call = await during(instrumented, lambda operation: turn(operation, target, LIMITED))
    assert call.events == [turned("openai/gpt-4o", known, "rate_limited")]
    assert call.attributes["ai_lib.fallback.model"] == known.removeprefix("p/")


async def test_without_spans_of_stages_attempts_count_all_the_same(recorder: Recorder) -> None:
    AiLibInstrumentor().instrument(**recorder.providers, stages="none")
    try:
        call = await during(recorder, lambda operation: note_retry(operation, 1, LIMITED, 0.5))
    finally:
        AiLibInstrumentor().uninstrument()

    assert call.children == []
    assert call.events == [retried(1, 0.5, "rate_limited")]
    assert call.attributes["ai_lib.attempts"] == 1
    assert measured(recorder, "attempts") == {"ai_lib.attempts": [point(1, GPT, kind="initial", type="ok")]}
