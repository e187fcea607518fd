"""Whatever an application can observe of a client's retries, fallbacks and queues is the same with and without us."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ai_lib_python.resilience import (
    CircuitBreakerConfig,
    ResilientConfig,
    ResilientExecutor,
)

from differential import Run, both, operations
from provider import Step, body, completion, delta, events
from recorder import Recorder
from resilient import BROKEN, fast, refusal

Part = Callable[[Run], Awaitable[Any]]


async def ask(ai: Any, question: str = "?") -> Any:
    """Return the answer, or the exception for its chain to be compared."""
    results = await asyncio.gather(ai.chat().user(question).execute(), return_exceptions=True)
    return results[0]


class Listening(ResilientExecutor):
    """An executor of the application's own that listens to its retries."""

    heard: list[Any]

    async def _execute_with_retry(self, operation: Any, on_retry: Any = None) -> Any:
        return await super()._execute_with_retry(operation, lambda *arguments: self.heard.append(arguments))


async def listening(run: Run) -> Any:
    ai = await run.client()
    ai._executor = Listening(ResilientConfig(retry=fast()), name="listening")
    ai._executor.heard = run.keep([])
    return [await ask(ai), await ask(ai)]


async def a_missing_manifest(run: Run) -> Any:
    ai = await run.client(with_fallbacks=["nowhere/m", "anthropic/claude"], with_retry=fast(1))
    ai._loader._fallback_to_github = False
    return [await ask(ai), await ask(ai)]


async def streams_and_an_open_circuit(run: Run) -> Any:
    ai = await run.client(with_circuit_breaker=CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=60))
    refused = [await ask(ai), await ask(ai)]
    seen = [event async for event in ai.chat().user("?").stream()]
    ai.reset_resilience()
    return [refused, seen, ai.circuit_state, ai.get_resilience_stats()]


async def a_burst(run: Run) -> Any:
    ai = await run.client(with_circuit_breaker=CircuitBreakerConfig(failure_threshold=2), max_inflight=2, retry=1)
    log, post = run.keep([]), ai._transport.post

    async def note(path: str, json: Any) -> Any:
        log.append(json["messages"][0]["content"])
        return await post(path, json=json)

    ai._transport.post = note
    outcomes = [await asyncio.gather(*(ask(ai, f"{number}") for number in range(5)))]
    del ai._transport.post
    return [outcomes, ai.get_resilience_stats()]


CLIENTS: list[tuple[Part, list[list[Step]]]] = [
    (listening, [refusal(503), refusal(429), body(completion()), refusal(500)]),
    (a_missing_manifest, [refusal(500), BROKEN, body(completion()), refusal(429), refusal(503), refusal(401)]),
    (streams_and_an_open_circuit, [refusal(400), events(delta("Hi"), delta(finish="stop"))]),
    (a_burst, [body(completion())]),
]


@pytest.mark.parametrize(("part", "scripts"), CLIENTS)
async def test_clients(recorder: Recorder, part: Part, scripts: list[list[Step]]) -> None:
    seen = await both(recorder, part, *scripts)
    assert seen.differences() == []
    assert "result" in seen.without
    assert operations(recorder)
