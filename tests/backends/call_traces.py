"""Calls that are worth a look: what they sent to Phoenix, and what the application did."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_lib_python import AiClient
from ai_lib_python.resilience import ResilientConfig, RetryConfig
from sender import Sender

from provider import Step, body, completion, delta, events, provider

OPERATION = "chat gpt-4o"
QUESTION = "Hello?"
ANSWER = "Hello! I am a mock provider: ask whatever you like, the answer is always this one."
USAGE = {"prompt_tokens": 12, "completion_tokens": 18, "total_tokens": 30}
ENVIRONMENT = {
    "AI_PROTOCOL_DIR": str(Path(__file__).resolve().parents[1] / "protocol"),
    "OPENAI_API_KEY": "for-the-mock",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
}


@dataclass(frozen=True)
class Traced:
    """A trace that was sent.

    Attributes:
        spans: Its spans, in the order in which they ended.
    """

    spans: list[Any]

    @property
    def identifier(self) -> str:
        """The id of the trace."""
        return f"{self.spans[0].context.trace_id:032x}"

    @property
    def operation(self) -> Any:
        """The span of the call."""
        (span,) = (span for span in self.spans if span.name == OPERATION)
        return span


@contextlib.asynccontextmanager
async def _sending(endpoint: str, *scripts: list[Step]) -> AsyncIterator[tuple[Sender, str]]:
    """Instrument everything and run a provider; yield the sender to Phoenix, and the provider's base URL."""
    sender = Sender("http", endpoint, traces_only=True)
    async with provider(*scripts) as model:
        with sender.instrumented():
            yield sender, model.base_url
    sender.shutdown()


def _trace(sender: Sender, root: str) -> Traced:
    (first,) = (span for span in sender.spans() if span.name == root and span.parent is None)
    return Traced([span for span in sender.spans() if span.context.trace_id == first.context.trace_id])


async def streamed(endpoint: str) -> Traced:
    """Let a user of a service read a stream."""
    words = [delta(f"{word} ") for word in ANSWER.split()]
    answer: list[Step] = [0.3, *events(*words, delta(finish="stop", usage=USAGE), delay=0.03)]
    async with _sending(endpoint, answer) as (sender, base_url), sender.service(base_url) as user:
        await user.get("/stream")
    return _trace(sender, "GET /stream")


async def retried(endpoint: str) -> Traced:
    """Ask a provider that answers at the third attempt."""
    scripts: list[list[Step]] = [[0.1, *body({}, status=503)], [0.1, *body({}, status=429)]]
    policy = ResilientConfig(retry=RetryConfig(max_retries=2, min_delay_ms=200))
    async with _sending(endpoint, *scripts, [0.4, *body(completion(ANSWER, usage=USAGE))]) as (sender, base_url):
        builder = AiClient.builder().model("openai/gpt-4o").base_url(base_url).with_resilience(policy)
        async with await builder.build() as client:
            await client.chat().user(QUESTION).execute()
    return _trace(sender, OPERATION)
