"""Parts that the application wrote: a transport and a mapper around the runtime's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ai_lib_python.pipeline.base import EventMapper
from ai_lib_python.transport import HttpTransport


class Transport(HttpTransport):
    """Asks under a name of its own."""

    async def post(self, path: str, json: Any = None, *, headers: Any = None, **options: Any) -> Any:
        return await super().post(path, json, headers={**(headers or {}), "x-application": "soak"}, **options)

    @asynccontextmanager
    async def stream_post(self, path: str, json: Any = None, *, headers: Any = None) -> AsyncIterator[Any]:
        async with super().stream_post(path, json, headers={**(headers or {}), "x-application": "soak"}) as response:
            yield response


class Mapper(EventMapper):
    """Looks at each event of another.

    Args:
        mapper: The other.
    """

    def __init__(self, mapper: Any) -> None:
        self._mapper = mapper
        self.seen = 0

    async def map_events(self, frames: AsyncIterator[dict[str, Any]]) -> AsyncIterator[Any]:
        async for event in self._mapper.map_events(frames):
            self.seen += 1
            yield event
