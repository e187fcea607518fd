"""The calls that are measured: the real runtime, with a provider inside the process instead of a network."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from ai_lib_python import AiClient

PROTOCOL = Path(__file__).resolve().parent.parent / "tests" / "protocol"
MODEL = "openai/gpt-4o"

_USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
_ANSWER = {
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "created": 1741569952,
    "model": "gpt-4o-2024-08-06",
    "service_tier": "default",
    "system_fingerprint": "fp_44709d6fcb",
}
_COMPLETION = json.dumps(
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


_CHUNK = _frame(" token", None)
_TAIL = [_frame(None, "stop", usage=_USAGE), b"data: [DONE]\n\n"]


class _Body(httpx.AsyncByteStream):
    """A body that arrives chunk by chunk and never has to be waited for."""

    def __init__(self, chunks: int) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._chunks):
            yield _CHUNK
        for chunk in _TAIL:
            yield chunk


class Workload:
    """A client of the runtime whose provider answers at once.

    Attributes:
        chunks: How many chunks of content the next stream brings.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self.chunks = 0
        client._transport._client = httpx.AsyncClient(
            transport=httpx.MockTransport(self._answer), base_url=client._transport._base_url
        )

    @classmethod
    async def create(cls) -> Workload:
        """Create the client from the tests' manifests. Uninstrumented, so that loading is not measured."""
        os.environ["AI_PROTOCOL_DIR"] = str(PROTOCOL)
        os.environ["OPENAI_API_KEY"] = "none"
        return cls(await AiClient.create(MODEL))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if b'"stream":true' in request.content.replace(b" ", b""):
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_Body(self.chunks))
        return httpx.Response(200, headers={"content-type": "application/json"}, content=_COMPLETION)

    def request(self) -> Any:
        """Return a new request, as an application builds one for each call."""
        return self._client.chat().user("Hello").temperature(0.7).max_tokens(100)

    async def call(self) -> None:
        """Make one call."""
        await self.request().execute()

    def events(self, chunks: int) -> Any:
        """Return the events of a new stream."""
        self.chunks = chunks
        return self.request().stream()

    async def stream(self, chunks: int) -> None:
        """Read one stream to its end."""
        async for _ in self.events(chunks):
            pass

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()
