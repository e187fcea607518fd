"""Calls that are retried, turned to another model, held back or refused."""

from __future__ import annotations

import asyncio

from ai_lib_python.resilience import CircuitOpenError
from desk import Desk


class Refusals(Desk):
    """A desk with executors."""

    async def retried(self) -> None:
        await self._chat(self._clients.steady, "status:429,status:503,ok")
        self.books.attempts("rate_limited", "overloaded", "ok")
        self.books.count("ai_lib.retries", "rate_limited")
        self.books.count("ai_lib.retries", "overloaded")

    async def turned(self) -> None:
        await self._chat(self._clients.steady, "status:429,status:429,status:429,ok")
        self.books.attempts("rate_limited", "rate_limited", "rate_limited")
        self.books.count("ai_lib.retries", "rate_limited", by=2)
        self.books.count("ai_lib.fallbacks", "rate_limited")
        self.books.count("ai_lib.attempts", "fallback", "ok")

    async def broken(self) -> None:
        client = self._clients.fragile
        changes = client._executor._circuit_breaker.get_stats().state_changes
        for script in ("status:500", "status:500", "ok", "ok"):
            try:
                await self._request(client, script).execute()
            except CircuitOpenError:
                self.books.call(error="circuit_open")
                self.books.count("ai_lib.circuit_breaker.rejections")
            except Exception as error:
                if script == "ok":
                    raise
                self.books.call(error=str(error.error_class.value))  # type: ignore[attr-defined]
                self.books.attempts("server_error")
            else:
                self.books.call()
                self.books.tokens(12, 5)
                self.books.attempts("ok")
        await asyncio.sleep(0.025)
        await self._chat(client)
        self.books.attempts("ok")
        changes = client._executor._circuit_breaker.get_stats().state_changes - changes
        self.books.count("ai_lib.circuit_breaker.transitions", by=changes)

    async def limited(self) -> None:
        await self._chat(self._clients.limited)
        self.books.attempts("ok")

    async def queued(self) -> None:
        await asyncio.gather(*(self._chat(self._clients.crowded) for _ in range(5)))
        for _ in range(5):
            self.books.attempts("ok")

    async def refused(self) -> None:
        client = self._clients.narrow
        first = asyncio.ensure_future(self._request(client, "hang").execute())
        for _ in range(20):
            await asyncio.sleep(0)
        await self._fails(self._request(client, "ok").execute(), "BackpressureError")
        self.books.call(error="backpressure")
        first.cancel()
        await self._fails(first, "CancelledError")
        self.books.call(error="cancelled")
        self.books.attempts("cancelled")
