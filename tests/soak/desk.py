"""What every worker has: its clients, its books, and numbers for its calls."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Iterator
from typing import Any

from books import Books
from clients import Clients


class UnexpectedError(Exception):
    """A call that did not end as its script said."""


class Desk:
    """What a worker works at.

    Args:
        clients: What it calls.
        name: A name that no other worker has, of this cycle or another.

    Attributes:
        books: What it did.
    """

    def __init__(self, clients: Clients, name: str) -> None:
        self.books = Books()
        self._clients = clients
        self._random = random.Random(name)  # noqa: S311 - a mix, and no secret
        self._numbers: Iterator[str] = (f"{name}-{number}" for number in itertools.count())

    def leave(self) -> None:
        """Let go of the clients."""
        del self._clients

    def _request(self, client: Any, script: str) -> Any:
        return client.chat().user(f"{next(self._numbers)} {script}").temperature(0.5)

    async def _chat(self, client: Any, script: str = "ok") -> None:
        await self._request(client, script).execute()
        self.books.call()
        self.books.tokens(12, 5)

    async def _fails(self, call: Awaitable[Any], *expected: str) -> None:
        try:
            await call
        except (Exception, asyncio.CancelledError) as error:
            if type(error).__name__ not in expected:
                raise
        else:
            raise UnexpectedError(f"none of {expected}")
