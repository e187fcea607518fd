"""A worker: it makes calls of every kind, one after the other, and keeps the books of what it did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from ai_lib_python.batch import BatchExecutor
from ai_lib_python.errors import TransportError
from ai_lib_python.telemetry import Tracer
from clients import Clients
from desk import UnexpectedError
from refusals import Refusals
from ways_out import ENDINGS, LENGTHS, TRANSPORT_ERROR, WEIGHTS, Ending

from opentelemetry_instrumentation_ailib import FeedbackCollector, HealthChecker, signals_snapshot

# What a chat is answered with, what it ends with, and what its exchange does.
FAILURES: Final = (
    ("status:400", "invalid_request", "invalid_request"),
    ("status:401", "authentication", "authentication"),
    ("status:404", "not_found", "not_found"),
    ("status:429", "rate_limited", "rate_limited"),
    ("status:500", "server_error", "server_error"),
    ("status:503", "overloaded", "overloaded"),
    ("timeout", "timeout", "timeout"),
    ("refused", TRANSPORT_ERROR, TRANSPORT_ERROR),
    ("html", "json.decoder.JSONDecodeError", "ok"),
    ("list", "AttributeError", "ok"),
    ("torn", "json.decoder.JSONDecodeError", "ok"),
)


class Worker(Refusals):
    """One of the application's many.

    Args:
        clients: What it calls.
        name: A name that no other worker has, of this cycle or another.
        another: Returns the number of a model that nobody has heard of.
    """

    def __init__(self, clients: Clients, name: str, another: Callable[[], int]) -> None:
        super().__init__(clients, name)
        self.made = 0
        self._another = another

    async def work(self, seconds: float) -> None:
        """Make calls for a while."""
        kinds, weights = zip(*KINDS, strict=True)
        end = monotonic() + seconds
        while monotonic() < end:
            (kind,) = self._random.choices(kinds, weights)
            await kind(self)
            self.made += 1

    async def sweep(self, share: int) -> None:
        """Do everything once, and call so many models that nobody has heard of."""
        for kind, _ in KINDS:
            await kind(self)
        for failure in FAILURES:
            await self.failing(failure)
        for ending in ENDINGS:
            await self.streamed(ending)
        for _ in range(share):
            await self.unknown()

    async def plain(self) -> None:
        await self._chat(self._random.choice((self._clients.plain, self._clients.own)))
        self.books.attempts("ok")

    async def rated(self) -> None:
        client = self._random.choice((self._clients.plain, self._clients.noted))
        _, stats = await self._request(client, "ok").execute_with_stats()
        self.books.call()
        self.books.tokens(12, 5)
        self.books.attempts("ok")
        FeedbackCollector().record(stats.request_id, self._random.randint(1, 5), "Good.")
        self.books.count("ai_lib.feedback", "rating")

    async def failing(self, failure: tuple[str, str, str] | None = None) -> None:
        script, error, attempt = failure or self._random.choice(FAILURES)
        await self._fails(
            self._request(self._clients.plain, script).execute(),
            "RemoteError", "TransportError", "JSONDecodeError", "AttributeError",
        )  # fmt: skip
        self.books.call(error=error)
        self.books.attempts(attempt)

    async def cancelled(self) -> None:
        call = asyncio.ensure_future(self._request(self._clients.plain, "hang").execute())
        for _ in range(20):
            await asyncio.sleep(0)  # It is with the provider then.
        call.cancel()
        await self._fails(call, "CancelledError")
        self.books.call(error="cancelled")
        self.books.attempts("cancelled")

    async def streamed(self, ending: Ending | None = None) -> None:
        ending = ending or self._random.choice(ENDINGS)
        (length,) = self._random.choices(LENGTHS, WEIGHTS)
        client = self._random.choice((self._clients.plain, self._clients.own))
        request = self._request(client, ending.answer.format(length))
        events = (await request.stream_with_stats())[0] if self._random.random() < 0.3 else request.stream()
        reading = ending.read(events)
        del events
        if ending.raises is None:
            await reading
        else:
            await self._fails(reading, ending.raises)
        ending.count(self.books)

    async def unknown(self) -> None:
        client = self._clients.fresh(f"model-{self._another()}")
        await self._chat(client)
        self.books.attempts("ok")
        await self._fails(self._request(client, "status:404").execute(), "RemoteError")
        self.books.call(error="not_found")
        self.books.attempts("not_found")
        await client.close()

    async def embedded(self) -> None:
        number = next(self._numbers)
        texts = [f"{number} vectors:2,vectors:2", "two", f"{number} vectors:2,vectors:2", "four"]
        answer = await self._clients.embedder.embed_batch(texts, batch_size=2)
        self.books.call("embeddings")
        self.books.count("ai_lib.tokens", "input", by=answer.usage.prompt_tokens)
        for _ in range(2):
            self.books.attempts("ok")

    async def reranked(self) -> None:
        if self._clients.reranker is None:
            return
        await self._clients.reranker.rerank(f"{next(self._numbers)} ranks", ["one", "two"])
        self.books.call("rerank")
        self.books.attempts("ok")

    async def batched(self) -> None:
        async def ask(script: str) -> None:
            await self._request(self._clients.plain, script).execute()

        result = await BatchExecutor(ask, max_concurrent=3).execute(["ok", "status:400", "ok", "ok"])
        for error in result.errors:
            self.books.call(error=None if error is None else "invalid_request")
            self.books.attempts("ok" if error is None else "invalid_request")
            if error is None:
                self.books.tokens(12, 5)

    async def looked(self) -> None:
        report = await HealthChecker().check()
        if not report.details:
            raise UnexpectedError("no health")
        signals_snapshot(self._clients.fragile)
        with Tracer("application").span("look"):
            pass
        self._clients.collector.get_snapshot()
        self._clients.collector.export_prometheus()

    async def opened(self) -> None:
        client = self._clients.fresh("gpt-4o")
        await self._chat(client)
        self.books.attempts("ok")
        await client.close()

    async def remote(self) -> None:
        if self._clients.remote is None:
            return
        try:
            answer = await self._clients.remote.chat().user("Hello?").execute()
        except TransportError:  # The server closes connections that nobody used for a while.
            self.books.call(error=TRANSPORT_ERROR)
            self.books.attempts(TRANSPORT_ERROR)
            return
        self.books.call()
        self.books.attempts("ok")
        self.books.tokens(answer.usage["prompt_tokens"], answer.usage["completion_tokens"])


KINDS: Final[tuple[tuple[Callable[[Worker], Awaitable[None]], float], ...]] = (
    (Worker.plain, 20),
    (Worker.streamed, 40),
    (Worker.failing, 10),
    (Worker.unknown, 5),
    (Worker.rated, 5),
    (Worker.cancelled, 3),
    (Worker.retried, 3),
    (Worker.turned, 3),
    (Worker.broken, 1),
    (Worker.limited, 3),
    (Worker.queued, 2),
    (Worker.refused, 2),
    (Worker.embedded, 3),
    (Worker.reranked, 3),
    (Worker.batched, 2),
    (Worker.opened, 3),
    (Worker.remote, 4),
    (Worker.looked, 0.2),
)
"""What a worker does, and how often."""
