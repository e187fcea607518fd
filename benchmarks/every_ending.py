"""Calls that end in every way, each with a model of its own: for memory, not for time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import httpx
from ai_lib_python import AiClient
from workload import CHUNK, COMPLETION, MODEL, TAIL, prepare

_ANSWERED_BY: Final = b"gpt-4o-2024-08-06"
_ERROR: Final = b'data: {"error": {"type": "server_error", "message": "overloaded"}}\n\n'


class _Body(httpx.AsyncByteStream):
    def __init__(self, *frames: bytes, breaks: bool = False) -> None:
        self._frames = frames
        self._breaks = breaks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for frame in self._frames:
            yield frame
        if self._breaks:
            raise httpx.ReadError("broken off")


class Endings:
    """A client for each call, whose calls end in one way after another.

    Args:
        client: The client whose manifest, transport and pipeline they share.
        names: How many names of models there are.
    """

    def __init__(self, client: Any, names: int) -> None:
        self._shared = {"manifest": client._manifest, "transport": client._transport, "pipeline": client._pipeline}
        self._original = client
        self._names = names
        self._respond: Callable[[], Any] = dict
        self._model = b""
        transport = client._transport
        transport._client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer), base_url=transport._base_url)
        self._endings = (
            self._answered,
            self._refused,
            self._garbled,
            self._disconnected,
            self._cancelled,
            self._read,
            self._left,
            self._dropped,
            self._reported,
            self._truncated,
            self._broken,
        )

    @classmethod
    async def create(cls, names: int) -> Endings:
        """Create the client from the benchmark's manifest."""
        prepare()
        return cls(await AiClient.create(MODEL), names)

    async def make(self, number: int) -> None:
        """Make one call, or read one stream, which ends as others of its model do.

        Args:
            number: How many were made before.
        """
        which = number % self._names
        name = f"unknown-{which}"
        self._model = name.encode()
        request = AiClient(**self._shared, model_id=f"openai/{name}").chat().user("Hello").max_tokens(100)
        await self._endings[which % len(self._endings)](request)

    async def close(self) -> None:
        """Close the client."""
        await self._original.close()

    def _answer(self, _: httpx.Request) -> Any:
        return self._respond()

    async def _fails(self, call: Awaitable[Any]) -> None:
        with contextlib.suppress(Exception):
            await call

    def _stream(self, request: Any, *frames: bytes, breaks: bool = False) -> Any:
        body = _Body(*(frame.replace(_ANSWERED_BY, self._model) for frame in frames), breaks=breaks)
        self._respond = lambda: httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=body)
        return request.stream()

    async def _answered(self, request: Any) -> None:
        content = COMPLETION.replace(_ANSWERED_BY, self._model)
        self._respond = lambda: httpx.Response(200, headers={"content-type": "application/json"}, content=content)
        await request.execute()

    async def _refused(self, request: Any) -> None:
        self._respond = lambda: httpx.Response(429, json={"error": {"message": "too many"}})
        await self._fails(request.execute())

    async def _garbled(self, request: Any) -> None:
        self._respond = lambda: httpx.Response(200, content=b"<html>")
        await self._fails(request.execute())

    async def _disconnected(self, request: Any) -> None:
        def refuse() -> httpx.Response:
            raise httpx.ConnectError("refused")

        self._respond = refuse
        await self._fails(request.execute())

    async def _cancelled(self, request: Any) -> None:
        asked = asyncio.Event()

        async def wait() -> httpx.Response:
            asked.set()
            await asyncio.Event().wait()
            return httpx.Response(200)

        self._respond = wait
        call = asyncio.ensure_future(request.execute())
        await asked.wait()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call

    async def _read(self, request: Any) -> None:
        async for _ in self._stream(request, CHUNK, CHUNK, *TAIL):
            pass

    async def _left(self, request: Any) -> None:
        stream = self._stream(request, CHUNK, CHUNK, *TAIL)
        await anext(stream)
        await stream.aclose()

    async def _dropped(self, request: Any) -> None:
        await anext(self._stream(request, CHUNK, CHUNK, *TAIL))
        # The event loop closes what was dropped.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _reported(self, request: Any) -> None:
        async for _ in self._stream(request, CHUNK, _ERROR, *TAIL):
            pass

    async def _truncated(self, request: Any) -> None:
        async for _ in self._stream(request, CHUNK, CHUNK):
            pass

    async def _broken(self, request: Any) -> None:
        with contextlib.suppress(Exception):
            async for _ in self._stream(request, CHUNK, CHUNK, breaks=True):
                pass
