"""The application: five things that one does with ai-lib-python. It does not know that the runtime is instrumented."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from ai_lib_python import AiClient
from ai_lib_python.errors import RemoteError
from opentelemetry import trace

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER = "A trace is the path of one request through an application, and a span is a step of it."
BURST = 20
READ = 5
PAUSE = 0.002

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
    # The manifest sends the credential in the header that tells the mock what to do.
    async with await AiClient.create("throttled/large", base_url=base_url, api_key="rate_limit") as client:
        try:
            await client.chat().user("What is a trace?").execute()
        except RemoteError:
            return
    raise RuntimeError("the mock provider did not answer 429")
