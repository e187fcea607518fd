"""Streams, with every way in which they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from books import Books

TRANSPORT_ERROR: Final = "ai_lib_python.errors.base.TransportError"


class BodyError(Exception):
    """What the body of the application's loop raises."""


async def _whole(events: Any) -> None:
    async for _ in events:
        pass


async def _leave(events: Any) -> None:
    async for _ in events:
        break


async def _leave_finished(events: Any) -> None:
    async for event in events:
        if getattr(event.data, "finish_reason", None):
            break


async def _close(events: Any) -> None:
    await events.__anext__()
    await events.aclose()


async def _close_unread(events: Any) -> None:
    await events.aclose()


async def _drop(events: Any) -> None:
    # In a circle, so that the garbage collector finds it whenever it comes by.
    circle: list[Any] = [events]
    circle.append(circle)
    await events.__anext__()


async def _ignore(events: Any) -> None:
    pass


async def _raise(events: Any) -> None:
    async for _ in events:
        raise BodyError


async def _cancel(events: Any) -> None:
    reading = asyncio.Event()

    async def read() -> None:
        async for _ in events:
            reading.set()

    task = asyncio.ensure_future(read())
    await reading.wait()
    task.cancel()
    await task


class Ending:
    """One way to read a stream.

    Args:
        answer: What the provider does, with the number of chunks to be filled in.
        read: What the application does.
        outcome: What the stream counts as; ``None`` where nothing is sent.
        error: What the call fails with.
        attempt: What the exchange ends with.
        raises: What the application sees.
        tokens: Whether it gets to the usage.
    """

    def __init__(
        self,
        answer: str,
        read: Callable[[Any], Awaitable[None]],
        outcome: str | None,
        *,
        error: str | None = None,
        attempt: str = "ok",
        raises: str | None = None,
        tokens: bool = False,
    ) -> None:
        self.answer = answer
        self.read = read
        self.outcome = outcome
        self.error = error
        self.attempt = attempt
        self.raises = raises
        self.tokens = tokens

    def count(self, books: Books) -> None:
        """Count a stream that ended so."""
        if self.outcome is None:
            return
        books.call(error=self.error)
        books.count("ai_lib.streams", self.outcome)
        books.attempts(self.attempt)
        if self.tokens:
            books.tokens(12, 5)


_FAILED: Final = {"error": TRANSPORT_ERROR, "attempt": TRANSPORT_ERROR, "raises": "TransportError"}

ENDINGS: Final = (
    Ending("stream:whole:{}", _whole, "completed", tokens=True),
    Ending("stream:whole:{}", _leave, "abandoned"),
    Ending("stream:whole:{}", _leave_finished, "completed"),
    Ending("stream:whole:{}", _close, "abandoned"),
    Ending("stream:whole:{}", _drop, "abandoned"),
    Ending("stream:whole:{}", _raise, "abandoned", raises="BodyError"),
    Ending("unused", _ignore, None),
    Ending("unused", _close_unread, None),
    Ending("stream:pieces:{}", _whole, "completed", tokens=True),
    Ending("stream:cut:{}", _whole, "truncated"),
    Ending("stream:torn:{}", _whole, "truncated"),
    Ending("stream:error:{}", _whole, "error", error="stream_error"),
    Ending("stream:break:{}", _whole, "error", **_FAILED),  # type: ignore[arg-type]
    Ending("stream:hang:{}", _cancel, "cancelled", error="cancelled", attempt="cancelled", raises="CancelledError"),
    Ending("status:500", _whole, "error", error="server_error", attempt="server_error", raises="RemoteError"),
    Ending("refused", _whole, "error", **_FAILED),  # type: ignore[arg-type]
)
"""All of them."""

LENGTHS: Final = (1, 3, 30, 300)
"""So many chunks a stream has, of which the longest are the rarest."""
WEIGHTS: Final = (10, 10, 5, 1)
