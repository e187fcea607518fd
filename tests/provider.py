"""A provider that misbehaves on demand: raw bytes over a real socket, for faults that the mock cannot produce."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Step = bytes | float
"""Bytes to send, or seconds to wait."""


def body(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> list[Step]:
    """Return the steps of a whole response. ``content`` that is not bytes is sent as JSON."""
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(payload)}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ["\r\n".join(lines).encode() + b"\r\n\r\n" + payload]


def chunk(payload: bytes) -> bytes:
    """Frame bytes for chunked transfer encoding."""
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def events(*frames: Any, done: bool = True, delay: float = 0.0, end: bool = True) -> list[Step]:
    """Return the steps of a server-sent-event response, a chunk per frame.

    Args:
        frames: Objects sent as JSON, or bytes sent as they are.
        done: Whether ``data: [DONE]`` follows.
        delay: Seconds before each frame.
        end: Whether the body is ended properly; a connection that breaks otherwise.
    """
    steps: list[Step] = [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"]
    for frame in frames:
        if delay:
            steps.append(delay)
        payload = frame if isinstance(frame, bytes) else b"data: " + json.dumps(frame).encode() + b"\n\n"
        steps.append(chunk(payload))
    if done:
        steps.append(chunk(b"data: [DONE]\n\n"))
    if end:
        steps.append(b"0\r\n\r\n")
    return steps


def delta(content: str | None = None, *, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an OpenAI-shaped frame."""
    message = {} if content is None else {"content": content}
    return {
        "id": "chatcmpl-1",
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "delta": message, "finish_reason": finish}],
        **more,
    }


def completion(content: Any = "Hello", **more: Any) -> dict[str, Any]:
    """Return an OpenAI-shaped response body."""
    return {
        "id": "chatcmpl-1",
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
        **more,
    }


@dataclass
class Provider:
    """A server that answers request *n* with the *n*-th script, and the last script from then on."""

    scripts: Sequence[Sequence[Step]]
    requests: list[bytes] = field(default_factory=list)
    base_url: str = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length")
                    ),
                    0,
                )
                self.requests.append(head + await reader.readexactly(length))
                script = self.scripts[min(len(self.requests), len(self.scripts)) - 1]
                complete = False
                for step in script:
                    if isinstance(step, bytes):
                        writer.write(step)
                        await writer.drain()
                        complete = step.endswith(b"0\r\n\r\n") or b"Content-Length" in step
                    else:
                        await asyncio.sleep(step)
                if not complete:
                    break


@contextlib.asynccontextmanager
async def provider(*scripts: Sequence[Step]) -> AsyncIterator[Provider]:
    """Run a :class:`Provider` on a free loopback port."""
    served = Provider(scripts)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(served._serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    served.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield served
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # Lets the transports close.


Script = Callable[..., list[Step]]
