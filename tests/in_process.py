"""A client whose provider is a function, where a socket would keep things alive, and what is left to other threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from conftest import client
from provider import completion, delta

URL = "http://provider.example/v1"
FRAMES = tuple(
    b"data: %s\n\n" % json.dumps(frame).encode() for frame in (delta("Hel"), delta("lo"), delta(finish="stop"))
)
ENDING = "ai-lib-end"
Handler = Callable[[httpx.Request], "httpx.Response | Awaitable[httpx.Response]"]


async def connected(answer: Handler) -> Any:
    """Return a client.

    Args:
        answer: The provider.
    """
    ai = await client(base_url=URL)
    transport = httpx.MockTransport(answer)  # type: ignore[arg-type]
    ai._transport._client = httpx.AsyncClient(base_url=URL, transport=transport)
    return ai


def completed() -> httpx.Response:
    """Return the answer to a call."""
    return httpx.Response(200, json=completion())


def await_ends() -> None:
    """Wait for the threads in which what was collected ends."""
    for thread in threading.enumerate():
        if thread.name == ENDING:
            thread.join(10)
