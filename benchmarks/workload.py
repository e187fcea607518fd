"""The calls that are measured: the real runtime, with a provider inside the process instead of a network."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from ai_lib_python import AiClient

PROTOCOL = Path(__file__).resolve().parent / "protocol"
MODEL = "openai/gpt-4o"

_USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
_ANSWER = {
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "created": 1741569952,
    "model": "gpt-4o-2024-08-06",
    "service_tier": "default",
    "system_fingerprint": "fp_44709d6fcb",
}
COMPLETION = json.dumps(
    {
        **_ANSWER,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
    }
).encode()


def _frame(content: str | None, finish: str | None, **more: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    frame = {**_ANSWER, "object": "chat.completion.chunk", "choices": [choice], **more}
    return b"data: " + json.dumps(frame).encode() + b"\n\n"


CHUNK = _frame(" token", None)
TAIL = (_frame(None, "stop"), _frame(None, None, choices=[], usage=_USAGE), b"data: [DONE]\n\n")


class _Body:
    """A body that arrives chunk by chunk and never has to be waited for."""

    def __init__(self, chunks: int) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._chunks):
            yield CHUNK
        for chunk in TAIL:
            yield chunk

    async def aclose(self) -> None:
        """Do nothing."""


class Provider:
    """What answers each request at once, or when all others are under way as well.

    Args:
        library: ``httpx``, or what has its names.

    Attributes:
        chunks: How many chunks of content the next stream brings.
        waits: Whether the event loop gets its turn before a request is answered.
    """

    def __init__(self, library: Any = httpx) -> None:
        self._library = library
        self._body: Any = type("Body", (_Body, library.AsyncByteStream), {})
        self.chunks = 0
        self.waits = False

    def client(self, **options: Any) -> Any:
        """Return the library's client, whose requests come here."""
        return self._library.AsyncClient(transport=self._library.MockTransport(self._answer), **options)

    def _answer(self, request: Any) -> Any:
        if b'"stream":true' in request.content.replace(b" ", b""):
            response = self._library.Response(
                200, headers={"content-type": "text/event-stream"}, stream=self._body(self.chunks)
            )
        else:
            response = self._library.Response(200, headers={"content-type": "application/json"}, content=COMPLETION)
        return self._later(response) if self.waits else response

    @staticmethod
    async def _later(response: Any) -> Any:
        await asyncio.sleep(0)
        return response


def prepare() -> None:
    """Let clients find the manifests of the benchmark, and a key."""
    os.environ["AI_PROTOCOL_DIR"] = str(PROTOCOL)
    os.environ["OPENAI_API_KEY"] = "none"


class Workload:
    """A client of the runtime whose provider answers at once.

    Attributes:
        client: The client.
        provider: What answers.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self.provider = Provider()
        client._transport._client = self.provider.client(base_url=client._transport._base_url)

    @classmethod
    async def create(cls) -> Workload:
        """Create the client from the benchmark's manifest. Uninstrumented, so that loading is not measured."""
        prepare()
        return cls(await AiClient.create(MODEL))

    def request(self) -> Any:
        """Return a new request, as an application builds one for each call."""
        return self.client.chat().user("Hello").temperature(0.7).max_tokens(100)

    async def call(self) -> None:
        """Make one call."""
        await self.request().execute()

    def events(self, chunks: int) -> Any:
        """Return the events of a new stream."""
        self.provider.chunks = chunks
        return self.request().stream()

    async def stream(self, chunks: int) -> None:
        """Read one stream to its end."""
        async for _ in self.events(chunks):
            pass

    async def close(self) -> None:
        """Close the client."""
        await self.client.close()
