"""Users of AI providers, of every kind: those who wait for answers, who leave early, who meet a provider in trouble.

It knows no OpenTelemetry. The mock provider, which it brings along, answers everything. It ends by itself
after LOAD_SECONDS (an hour).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ai_lib_python import AiClient
from ai_lib_python.errors import AiLibError
from ai_lib_python.resilience import (
    BackpressureConfig,
    CircuitBreakerConfig,
    CircuitOpenError,
    RateLimiterConfig,
    ResilientConfig,
    RetryConfig,
)
from ai_lib_python.resilience.backpressure import BackpressureError
from ai_lib_python.telemetry import RatingFeedback, report_feedback
from mock_provider import PROTOCOL, mock_provider

SECONDS = float(os.environ.get("LOAD_SECONDS", "3600"))
USERS = 6
ANSWER = "A trace is the path of one request through an application, and a span is a step of it."

RESILIENCE = ResilientConfig(
    retry=RetryConfig(max_retries=1, min_delay_ms=50, max_delay_ms=200),
    rate_limit=RateLimiterConfig(requests_per_second=20, burst_size=5),
    circuit_breaker=CircuitBreakerConfig(failure_threshold=5, cooldown_seconds=20),
    backpressure=BackpressureConfig(max_concurrent=4),
)
FAILURES = (AiLibError, BackpressureError, CircuitOpenError)


class Clients:
    """The clients that all users share, by what they are for.

    Args:
        base_url: The mock provider's.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Clients:
        self.plain = await self._open("openai/gpt-4o-mini")
        self.other = await self._open("anthropic/claude-3-5-sonnet")
        self.guarded = await self._open("openai/gpt-4o", RESILIENCE)
        # The mock refuses whoever comes with this provider's credential.
        self.saved = await self._open("throttled/large", RESILIENCE, fallbacks=["openai/gpt-4o"])
        self.lost = await self._open("throttled/small", RESILIENCE)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(
        self, model: str, resilience: ResilientConfig | None = None, fallbacks: list[str] | None = None
    ) -> AiClient:
        builder = AiClient.builder().model(model).base_url(self._base_url).with_fallbacks(fallbacks or [])
        if resilience is not None:
            builder = builder.with_resilience(resilience)
        return await self._stack.enter_async_context(await builder.build())


async def ask(client: AiClient) -> None:
    """Wait for an answer."""
    await client.chat().user("What is a trace?").temperature(0.2).execute()


async def rate(client: AiClient) -> None:
    """Wait for an answer and say what one thinks of it, which is good more often than not."""
    _, stats = await client.chat().user("What is a trace?").execute_with_stats()
    await report_feedback(RatingFeedback(stats.client_request_id, random.choice((2, 4, 4, 5))))  # noqa: S311 - no secret


async def read(client: AiClient, *, pause: float = 0.0, leave_after: int | None = None) -> None:
    """Read a stream, slowly perhaps, perhaps not to its end."""
    events: Any = client.chat().user("What is a span?").stream()
    async with contextlib.aclosing(events) as stream:
        count = 0
        async for _ in stream:
            count += 1
            if count == leave_after:
                break
            await asyncio.sleep(pause)


async def user(clients: Clients, until: float) -> None:
    """Do now this and now that, with pauses, and mind no failure."""
    choices: list[tuple[int, Any]] = [
        (25, lambda: ask(clients.plain)),
        (10, lambda: ask(clients.other)),
        (10, lambda: rate(clients.other)),
        (20, lambda: ask(clients.guarded)),
        (20, lambda: read(clients.plain, pause=0.005)),
        (6, lambda: read(clients.plain, leave_after=10)),
        (8, lambda: ask(clients.saved)),
        (6, lambda: ask(clients.lost)),
    ]
    weights = [weight for weight, _ in choices]
    while time.monotonic() < until:
        ((_, act),) = random.choices(choices, weights)  # noqa: S311 - no secret
        with contextlib.suppress(*FAILURES):
            await act()
        await asyncio.sleep(random.uniform(0.05, 0.5))  # noqa: S311


async def main(base_url: str) -> None:
    """Let all users loose until the time is over."""
    until = time.monotonic() + SECONDS
    async with Clients(base_url) as clients:
        await asyncio.gather(*(user(clients, until) for _ in range(USERS)))


if __name__ == "__main__":
    os.environ["AI_PROTOCOL_DIR"] = str(PROTOCOL)
    os.environ.update(OPENAI_API_KEY="for-the-mock", ANTHROPIC_API_KEY="for-the-mock", THROTTLED_API_KEY="rate_limit")
    with mock_provider(content=ANSWER, delay=0.15) as provider:
        asyncio.run(main(f"{provider}/v1"))
