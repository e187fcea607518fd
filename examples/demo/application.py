"""The application: what one does with ai-lib-python. It does not know that the runtime is instrumented."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from ai_lib_python import AiClient
from ai_lib_python.errors import RemoteError
from ai_lib_python.resilience import CircuitBreakerConfig, CircuitOpenError, JitterStrategy, RetryConfig
from opentelemetry import trace

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER = "A trace is the path of one request through an application, and a span is a step of it."
BURST = 20
REFUSED = 2
READ = 5
PAUSE = 0.002
# What the mock takes for orders to answer 429 and 503: the manifests send these credentials in the headers for that.
THROTTLE, OVERLOAD = "rate_limit", "503"

tracer = trace.get_tracer("demo")


async def run(base_url: str, say: Callable[[str], None]) -> None:
    """Make the calls, each inside a span of the application's own.

    Args:
        base_url: The provider's, with ``/v1``.
        say: Told what is about to happen.
    """
    say("a chat")
    with tracer.start_as_current_span("answer a question"):
        client = await AiClient.create("openai/gpt-4o", base_url=base_url, api_key="for-the-mock")
        await client.chat().user("What is a trace?").temperature(0.2).execute_with_stats()

    say(f"a stream, read to its end by a consumer that takes {PAUSE * 1000:.0f} ms over each event")
    with tracer.start_as_current_span("stream an answer"):
        async for _ in client.chat().user("What is a trace?").stream():
            await asyncio.sleep(PAUSE)

    say(f"a stream, left by `break` at event {READ}")
    with tracer.start_as_current_span("read the beginning"):
        await _read_beginning(client)

    say("a call to a provider that answers 429")
    with tracer.start_as_current_span("ask a busy provider"):
        await _ask_busy_provider(base_url)

    say("a call that an overloaded provider refuses twice, and a fallback model answers")
    with tracer.start_as_current_span("ask until somebody answers"):
        await _fall_back(base_url)

    say(f"{REFUSED + 1} calls to the overloaded provider through a circuit breaker that opens at failure {REFUSED}")
    with tracer.start_as_current_span("ask until the breaker opens"):
        await _open_breaker(base_url)

    say(f"{BURST} calls at once")
    with tracer.start_as_current_span(f"answer {BURST} questions"):
        await asyncio.gather(*(client.chat().user(f"Question {n}?").execute() for n in range(BURST)))
    await client.close()


async def _read_beginning(client: AiClient) -> None:
    count = 0
    # Without aclosing() the stream stays open after the break until the event loop gets round to closing it.
    async with aclosing(client.chat().user("What is a trace?").stream()) as events:  # type: ignore[type-var]
        async for _ in events:
            count += 1
            if count == READ:
                break


async def _ask_busy_provider(base_url: str) -> None:
    async with await AiClient.create("throttled/large", base_url=base_url, api_key=THROTTLE) as client:
        try:
            await client.chat().user("What is a trace?").execute()
        except RemoteError:
            return
    raise RuntimeError("the mock provider did not answer 429")


async def _fall_back(base_url: str) -> None:
    patient = RetryConfig(max_retries=1, min_delay_ms=50, jitter=JitterStrategy.NONE)
    builder = AiClient.builder().model("overloaded/large").base_url(base_url).api_key(OVERLOAD)
    async with await builder.with_retry(patient).with_fallbacks(["openai/gpt-4o"]).build() as client:
        await client.chat().user("What is a trace?").execute()


async def _open_breaker(base_url: str) -> None:
    breaker = CircuitBreakerConfig(failure_threshold=REFUSED)
    builder = AiClient.builder().model("overloaded/large").base_url(base_url).api_key(OVERLOAD)
    async with await builder.with_circuit_breaker(breaker).build() as client:
        for _ in range(REFUSED + 1):
            with suppress(RemoteError, CircuitOpenError):
                await client.chat().user("What is a trace?").execute()
        if client.circuit_state != "open":
            raise RuntimeError("the circuit breaker did not open")
