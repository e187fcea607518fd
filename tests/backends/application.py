"""An application that makes a known set of calls, in rounds: every way in which a call or a stream can end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from ai_lib_python import AiClient
from ai_lib_python.resilience import (
    BackpressureConfig,
    CircuitBreakerConfig,
    RateLimiterConfig,
    ResilientConfig,
    RetryConfig,
)

from opentelemetry_instrumentation_ailib import FeedbackCollector
from provider import Step, body, completion, delta, events, provider

ROUNDS = 2
CHATS = 3
"""Besides the one that is rated."""
STREAMS = 2
QUEUED = 2
RATINGS = (5, 2)
CONTENT = "Eleven words"
"""What the mock provider answers; it streams a frame a character, and one with the finish reason."""

CACHED = {
    "id": "msg_1",
    "model": "claude-sonnet",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20},
}
COMPLAINT = {"error": {"message": "Overloaded", "type": "overloaded"}}

SCRIPTS: dict[str, list[list[Step]]] = {
    "anthropic/claude-sonnet": [body(CACHED)],
    "openai/retried": [body({}, status=503), body(completion())] * ROUNDS,
    "openai/failing": [body({}, status=500)],
    "openai/truncated": [events(delta("Hi"), done=False)],
    "mapless/empty": [events(delta("Hi", finish="stop"))],
    "openai/broken": [events(delta("Hi"), done=False, end=False)],
    "openai/complaining": [events(delta("Hi"), COMPLAINT, delta(finish="stop"))],
    "openai/cancelled": [[*events(delta("Hi"), done=False, end=False), 30.0]],
}
RESILIENCE = {
    "openai/retried": ResilientConfig(retry=RetryConfig(max_retries=2, min_delay_ms=10)),
    "openai/limited": ResilientConfig(
        rate_limit=RateLimiterConfig(requests_per_second=20, burst_size=1),
        backpressure=BackpressureConfig(max_concurrent=1),
    ),
    "throttled/tripped": ResilientConfig(
        circuit_breaker=CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=3600)
    ),
}
FALLBACKS = {"throttled/primary": ["openai/secondary"]}


class Application:
    """Clients that live as long as it does, so that the gauges have something to read.

    Args:
        mock: The base URL of the mock provider.
    """

    def __init__(self, mock: str) -> None:
        self._mock = mock
        self._clients: dict[str, AiClient] = {}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Application:
        for model, scripts in SCRIPTS.items():
            server = await self._stack.enter_async_context(provider(*scripts))
            await self._open(model, server.base_url)
        for model in ("openai/gpt-4o", "openai/limited", "throttled/large", "throttled/primary", "throttled/tripped"):
            await self._open(model, self._mock)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(self, model: str, base_url: str) -> None:
        builder = AiClient.builder().model(model).base_url(base_url).with_fallbacks(FALLBACKS.get(model, []))
        if model in RESILIENCE:
            builder = builder.with_resilience(RESILIENCE[model])
        self._clients[model] = await self._stack.enter_async_context(await builder.build())

    async def round(self) -> None:
        """Make every call of a round."""
        for _ in range(CHATS):
            await self._ask("openai/gpt-4o")
        for _ in range(STREAMS):
            await self._read("openai/gpt-4o")
        await self._read("openai/gpt-4o", events_wanted=1)
        await asyncio.gather(*(self._ask("openai/limited") for _ in range(QUEUED)))
        for model in ("anthropic/claude-sonnet", "openai/retried", "throttled/primary"):
            await self._ask(model)
        for model in ("throttled/large", "openai/failing", "throttled/tripped"):
            await _fails(self._ask(model))
        for model in ("openai/truncated", "mapless/empty", "openai/complaining"):
            await self._read(model)
        await _fails(self._read("openai/broken"))
        await self._cancel("openai/cancelled")
        await self._rate("openai/gpt-4o")

    async def _rate(self, model: str) -> None:
        _, stats = await self._clients[model].chat().user("Hello?").execute_with_stats()
        for rating in RATINGS:
            FeedbackCollector().record(request_id=stats.request_id, rating=rating)

    async def _cancel(self, model: str) -> None:
        first = asyncio.Event()
        task = asyncio.ensure_future(self._read(model, seen=first))
        await first.wait()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _ask(self, model: str) -> None:
        await self._clients[model].chat().user("Hello?").execute()

    async def _read(self, model: str, *, events_wanted: int | None = None, seen: asyncio.Event | None = None) -> None:
        count = 0
        stream: Any = self._clients[model].chat().user("Hello?").stream()
        async with contextlib.aclosing(stream) as found:
            async for _ in found:
                count += 1
                if seen is not None:
                    seen.set()
                if count == events_wanted:
                    break


async def _fails(call: Any) -> None:
    try:
        await call
    except Exception:
        return
    raise AssertionError("the call was to fail")
