"""Fallbacks over a socket: every span, event and point of calls that another model answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ai_lib_python.resilience import BackpressureConfig, CircuitBreakerConfig

from provider import Step, body, completion
from recorder import Recorder
from resilient import (  # noqa: F401 - a fixture
    BROKEN,
    CLAUDE,
    COMPILE,
    GPT,
    JSON_ERROR,
    MISTRAL,
    PARSE,
    WAIT,
    fast,
    load,
    measured,
    operation,
    own_components,
    point,
    points,
    refusal,
    retried,
    seen,
    served,
    stage,
    stages,
    transport,
    turned,
)

FALLBACK = ["anthropic/claude"]
BOTH = ["anthropic/claude", "selective/org/m"]
ONE: dict[str, Any] = {"ai_lib.fallback.count": 1, "ai_lib.fallback.model": "claude"}
TWO: dict[str, Any] = {"ai_lib.fallback.count": 2, "ai_lib.fallback.model": "org/m"}
TURN = {"from": "openai/gpt-4o", "to": "anthropic/claude"}
NEXT = {"from": "anthropic/claude", "to": "selective/org/m"}
# The manifest says where, and 2.0 is the version of that one.
SECOND = load(version="2.0")


def to_claude(base_url: str, status: int, error: str | None = None, resend: int = 1) -> Any:
    return transport(base_url, status, error, resend=resend, path="/messages")


async def test_the_metrics_of_a_call_name_the_model_that_answered_and_its_span_the_one_asked(
    instrumented: Recorder,
) -> None:
    async with served(refusal(500), body(completion()), fallbacks=FALLBACK) as (server, ai):
        assert (await ai.chat().user("Hello?").execute()).content == "Hello"

    sent = COMPILE, transport(server.base_url, 500, "server_error")
    answered = SECOND, COMPILE, to_claude(server.base_url, 200), PARSE
    events = [turned("openai/gpt-4o", "anthropic/claude", "server_error")]
    assert seen(instrumented) == [
        load(),
        operation(server.base_url, *sent, *answered, attempts=2, events=events, **ONE),
    ]
    chat = {**CLAUDE, "operation": "chat"}
    assert measured(instrumented) == {
        "ai_lib.requests": [point(1, chat)],
        "ai_lib.request.duration": [point(1, chat)],
        "ai_lib.requests.in_flight": [point(0, GPT, operation="chat")],
        "ai_lib.tokens": points(point(12, chat, type="input"), point(5, chat, type="output")),
        "ai_lib.attempts": points(
            point(1, GPT, kind="initial", type="server_error"), point(1, CLAUDE, kind="fallback", type="ok")
        ),
        "ai_lib.fallbacks": [point(1, TURN, type="server_error")],
        "ai_lib.stage.duration": points(
            point(1, GPT, stage="protocol.load"),
            *stages(GPT, request_compile=1, http_transport=1),
            *stages(CLAUDE, protocol_load=1, request_compile=1, http_transport=1, pipeline_process=1),
        ),
    }
    assert instrumented.counts("gen_ai.client.operation.duration", "gen_ai.request.model") == {"gpt-4o": 1}
    assert instrumented.counts("gen_ai.client.operation.duration", "gen_ai.provider.name") == {"openai": 1}


async def test_two_fallbacks_are_two_turns(instrumented: Recorder) -> None:
    async with served(refusal(500), refusal(429), body(completion()), fallbacks=BOTH, retry=fast(0)) as (server, ai):
        await ai.chat().user("Hello?").execute()

    assert seen(instrumented)[1:] == [
        operation(
            server.base_url,
            *(COMPILE, transport(server.base_url, 500, "server_error")),
            *(SECOND, COMPILE, to_claude(server.base_url, 429, "rate_limited")),
            *(load(), COMPILE, transport(server.base_url, 200, resend=2), PARSE),
            attempts=3,
            events=[
                turned("openai/gpt-4o", "anthropic/claude", "server_error"),
                turned("anthropic/claude", "selective/org/m", "rate_limited"),
            ],
            **TWO,
            **WAIT,
        )
    ]
    assert measured(instrumented, "requests", "attempts", "fallbacks", "retries", "errors") == {
        "ai_lib.requests": [point(1, MISTRAL, operation="chat")],
        "ai_lib.attempts": points(
            point(1, GPT, kind="initial", type="server_error"),
            point(1, CLAUDE, kind="fallback", type="rate_limited"),
            point(1, MISTRAL, kind="fallback", type="ok"),
        ),
        "ai_lib.fallbacks": points(
            point(1, TURN, type="server_error"),
            point(1, NEXT, type="rate_limited"),
        ),
        "ai_lib.retries": [],
        "ai_lib.errors": [],
    }


async def test_a_provider_has_one_name_whatever_it_was_asked_for_by(
    instrumented: Recorder, protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn is named by the ids of the manifests, as the exchanges before and after it are."""
    shutil.copytree(protocol, tmp_path, dirs_exist_ok=True)
    providers = tmp_path / "v1" / "providers"
    shutil.copy(providers / "anthropic.yaml", providers / "claude.yaml")
    monkeypatch.setenv("AI_PROTOCOL_DIR", str(tmp_path))
    models = ["claude/claude", "selective/org/m"]
    async with served(refusal(500), refusal(429), body(completion()), fallbacks=models, retry=fast(0)) as (_, ai):
        await ai.chat().user("Hello?").execute()

    assert seen(instrumented)[-1].events == [
        turned("openai/gpt-4o", "anthropic/claude", "server_error"),
        turned("anthropic/claude", "selective/org/m", "rate_limited"),
    ]
    assert measured(instrumented, "attempts", "fallbacks") == {
        "ai_lib.attempts": points(
            point(1, GPT, kind="initial", type="server_error"),
            point(1, CLAUDE, kind="fallback", type="rate_limited"),
            point(1, MISTRAL, kind="fallback", type="ok"),
        ),
        "ai_lib.fallbacks": points(point(1, TURN, type="server_error"), point(1, NEXT, type="rate_limited")),
    }


async def test_a_fallback_is_retried_like_any_model(instrumented: Recorder) -> None:
    async with served(
        refusal(503), refusal(500), refusal(429), body(completion()), fallbacks=FALLBACK, retry=fast(1)
    ) as (server, ai):
        await ai.chat().user("Hello?").execute()

    assert seen(instrumented)[1:] == [
        operation(
            server.base_url,
            *(COMPILE, transport(server.base_url, 503, "overloaded")),
            *(COMPILE, transport(server.base_url, 500, "server_error", resend=1)),
            *(SECOND, COMPILE, to_claude(server.base_url, 429, "rate_limited", 2)),
            *(COMPILE, to_claude(server.base_url, 200, resend=3), PARSE),
            attempts=4,
            events=[
                retried(1, 0.004, "overloaded"),
                turned("openai/gpt-4o", "anthropic/claude", "server_error"),
                retried(1, 0.004, "rate_limited"),
            ],
            **ONE,
            **WAIT,
        )
    ]
    retries = points(point(1, GPT, type="overloaded"), point(1, CLAUDE, type="rate_limited"))
    assert measured(instrumented, "attempts", "retries", "retry.delay", "fallbacks") == {
        "ai_lib.attempts": points(
            point(1, GPT, kind="initial", type="overloaded"),
            point(1, GPT, kind="retry", type="server_error"),
            point(1, CLAUDE, kind="fallback", type="rate_limited"),
            point(1, CLAUDE, kind="retry", type="ok"),
        ),
        "ai_lib.retries": retries,
        "ai_lib.retry.delay": retries,
        "ai_lib.fallbacks": [point(1, TURN, type="server_error")],
    }


@pytest.mark.parametrize("resilience", [{}, {"retry": fast()}], ids=["bare", "executor"])
async def test_a_body_that_is_no_json_is_what_the_fallback_is_for(
    instrumented: Recorder, resilience: dict[str, Any]
) -> None:
    async with served(BROKEN, body(completion()), fallbacks=FALLBACK, **resilience) as (server, ai):
        await ai.chat().user("Hello?").execute()

    sent = COMPILE, transport(server.base_url, 200), stage("pipeline.process", JSON_ERROR)
    answered = SECOND, COMPILE, to_claude(server.base_url, 200), PARSE
    events = [turned("openai/gpt-4o", "anthropic/claude", JSON_ERROR)]
    wait = WAIT if resilience else {}
    assert seen(instrumented)[1:] == [
        operation(server.base_url, *sent, *answered, attempts=2, events=events, **ONE, **wait)
    ]
    assert measured(instrumented, "attempts", "fallbacks", "errors") == {
        # The exchange itself was fine.
        "ai_lib.attempts": points(
            point(1, GPT, kind="initial", type="ok"), point(1, CLAUDE, kind="fallback", type="ok")
        ),
        "ai_lib.fallbacks": [point(1, TURN, type=JSON_ERROR)],
        "ai_lib.errors": [],
    }


async def test_a_timeout_inside_of_a_permit_is_what_the_fallback_is_for(instrumented: Recorder) -> None:
    config: dict[str, Any] = {
        "backpressure": BackpressureConfig(),
        "circuit_breaker": CircuitBreakerConfig(timeout_seconds=1.0),
    }
    async with served([30.0], body(completion()), fallbacks=FALLBACK, **config) as (_, ai):
        await ai.chat().user("Hello?").execute()

    # To the caller it would have been a BackpressureError, though nothing had queued.
    assert measured(instrumented, "fallbacks") == {"ai_lib.fallbacks": [point(1, TURN, type="timeout")]}
    assert seen(instrumented)[1].events == [turned("openai/gpt-4o", "anthropic/claude", "timeout")]


@pytest.mark.parametrize(("first", "kind"), [(refusal(500), "server_error"), (BROKEN, "ok")], ids=["500", "broken"])
async def test_a_model_that_is_its_own_fallback_is_asked_again(
    instrumented: Recorder, first: list[Step], kind: str
) -> None:
    async with served(first, refusal(500), body(completion()), fallbacks=["openai/gpt-4o", *FALLBACK]) as (_, ai):
        await ai.chat().user("Hello?").execute()

    sent = [child for child in seen(instrumented)[1].children if child.name == "ai_lib.http.transport"]
    assert [child.attributes.get("http.request.resend_count") for child in sent] == [None, 1, 2]
    assert measured(instrumented, "attempts", "fallbacks") == {
        "ai_lib.attempts": points(
            point(1, GPT, kind="initial", type=kind),
            point(1, GPT, kind="retry", type="server_error"),
            point(1, CLAUDE, kind="fallback", type="ok"),
        ),
        "ai_lib.fallbacks": [point(1, TURN, type="server_error")],
    }
