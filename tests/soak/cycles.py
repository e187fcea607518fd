"""The soak: cycles of calls under instrumentation that comes and goes, with the books compared after each."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, Final

from ai_lib_python.telemetry import Tracer
from caller import Worker
from census import OF_CALLS, Census, census, components, names_of_threads, quick_collections, settle
from clients import COMPONENTS, Clients, client
from complaints import Complaints, complaints
from findings import Result, Settings
from hooks import Hooks
from outlets import Dropped, Outlets, outlets
from upstream import Upstream

from opentelemetry_instrumentation_ailib import AiLibInstrumentor

_CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_THREADS: Final = 2
_ROUNDS: Final = 10
"""Of instrumentation, in a cycle in which no other thread makes calls."""
# Of a stream that the garbage collector finds, the event loop closes each of the runtime's generators by itself, and
# one of them may be in the midst of closing another. So it does without us.
_COLLISIONS: Final = (
    "aclose(): asynchronous generator is already running",
    "generator didn't stop after athrow()",
)


class Soak:
    """One soak.

    Args:
        settings: How long and how wide.
        out: Where the telemetry goes.
        heard: What somebody complains of.
        tell: Gets a line about each cycle.
    """

    def __init__(self, settings: Settings, out: Outlets, heard: Complaints, tell: Callable[[str], None]) -> None:
        self.result = Result()
        self._settings = settings
        self._out = out
        self._heard = heard
        self._tell = tell
        self._upstream = Upstream()
        self._hooks = Hooks()
        self._cycle = 0
        self._names: Iterator[int] = itertools.count()

    async def run(self) -> None:
        """Run all cycles."""
        with self._upstream.connected():
            end = monotonic() + self._settings.seconds
            while monotonic() < end:
                await self._one(min(self._settings.cycle, max(end - monotonic(), 0.5)))
                self._cycle += 1
        self.result.violations += self.result.grown()

    def _complained(self, _: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
        if str(about.get("exception")) in _COLLISIONS:
            self.result.collisions += 1
        else:
            self._violated(f"the loop: {about}")

    def _violated(self, what: str) -> None:
        if len(self.result.violations) < 100:
            self.result.violations.append(f"cycle {self._cycle}: {what}")

    async def _one(self, seconds: float) -> None:
        before = len(names_of_threads())
        with self._instrumented():
            held = await self._hold()
            await self._all(seconds)
        async for _ in held:
            pass  # It began while the runtime was instrumented, and counts.
        del held
        await _unseen()
        left = await settle()
        self._out.flush()
        rest = census()
        self.result.rests.append(rest)
        self.result.made.append(self.result.calls)
        self._judge(rest, left, before)
        counted = sum(rest.ours.values())
        self._tell(
            f"cycle {self._cycle}: {self.result.calls} calls, {rest.resident:.1f} MiB, {rest.blocks} blocks,"
            f" {counted} objects of ours, {len(self.result.violations)} violations"
        )

    @contextlib.contextmanager
    def _instrumented(self) -> Iterator[None]:
        logging.getLogger("ai_lib").setLevel(5 if self._cycle % 4 == 2 else logging.INFO)
        if self._cycle % 3 == 1:
            os.environ[_CAPTURE] = "SPAN_AND_EVENT"
        self._begin()
        try:
            yield
        finally:
            AiLibInstrumentor().uninstrument()
            os.environ.pop(_CAPTURE, None)

    def _begin(self) -> None:
        # The same names each time: a round of instrumentation has the first of its own for labels.
        self._names = itertools.count()
        hooks = self._hooks.arguments(completion=_CAPTURE in os.environ)
        AiLibInstrumentor().instrument(**self._out.providers, **hooks)

    async def _switch(self, seconds: float) -> None:
        # In one step of the loop, with the calls of all workers under way: each of them counts.
        for _ in range(1, _ROUNDS):
            await asyncio.sleep(seconds / _ROUNDS)
            AiLibInstrumentor().uninstrument()
            self._begin()
            self.result.rounds += 1

    async def _hold(self) -> Any:
        events = (await client()).chat().user(f"held-{self._cycle} stream:whole:3").stream()
        await events.__anext__()
        self.result.books.call()
        self.result.books.count("ai_lib.streams", "completed")
        self.result.books.attempts("ok")
        self.result.books.tokens(12, 5)
        return events

    async def _all(self, seconds: float) -> None:
        threads: list[threading.Thread] = []
        others: list[list[Worker]] = [[] for _ in range(_THREADS if self._cycle % 2 else 0)]
        for number, some in enumerate(others):
            threads.append(threading.Thread(target=self._elsewhere, args=(f"thread-{number}", some, seconds)))
            threads[-1].start()
        workers: list[Worker] = []
        await self._work("main", workers, seconds)
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0.01)
        for worker in [*workers, *(each for their in others for each in their)]:
            self.result.books.add(worker.books)
            self.result.calls += worker.made

    def _elsewhere(self, name: str, workers: list[Worker], seconds: float) -> None:
        try:
            asyncio.run(self._work(name, workers, seconds))
        except Exception as error:
            self._violated(f"{name}: {error!r}")

    async def _work(self, name: str, workers: list[Worker], seconds: float) -> None:
        asyncio.get_running_loop().set_exception_handler(self._complained)
        wide = self._settings.workers if name == "main" else 2
        opened: list[Clients] = []
        for number in range(wide):
            source = self._out.tracer_provider.get_tracer("own") if number % 2 else Tracer("own", Dropped())
            opened.append(await Clients.open(self._settings.remote, source))
            workers.append(Worker(opened[-1], f"{self._cycle}-{name}-{number}", lambda: next(self._names)))
        if self._cycle == 0:
            await asyncio.gather(*(worker.sweep(self._settings.names // wide + 1) for worker in workers))
        busy = [worker.work(seconds) for worker in workers]
        if self._cycle % 2 == 0:
            busy.append(self._switch(seconds))
        ended = await asyncio.gather(*busy, return_exceptions=True)
        for error in ended:
            if error is not None:
                self._violated(f"{name}: {error!r}")
        self._judge_components(opened)
        for clients in opened:
            await clients.close()
        del opened
        for worker in workers:
            worker.leave()
        left = await settle()
        if left:
            self._violated(f"tasks left in {name}: {left}")

    def _judge_components(self, opened: list[Clients]) -> None:
        known = components()
        for kind, each in COMPONENTS.items():
            # Those of other threads may have been closed already, or not yet been made.
            if known[kind] < each * len(opened):
                self._violated(f"{known[kind]} of {each * len(opened)} {kind} known")

    def _judge_telemetry(self) -> None:
        books = self.result.books
        for difference in (
            *books.differences(self._out.reader),
            *self._out.differences(),
            *self._hooks.differences(books, self._heard.swallowed.value),
        ):
            self._violated(difference)
        self.result.spans, self.result.hooks = self._out.spans(), self._hooks.counts()

    def _judge(self, rest: Census, left: list[str], threads: int) -> None:
        self._judge_telemetry()
        if left:
            self._violated(f"tasks left: {left}")
        if len(rest.threads) != threads:
            self._violated(f"{threads} threads became {rest.threads}")
        if any(rest.components.values()):
            self._violated(f"components that nobody has: {rest.components}")
        # What belongs to no call may be there from the first cycle on.
        more = +(rest.ours - self.result.rests[0].ours) + Counter({name: rest.ours[name] for name in OF_CALLS})
        if more:
            self._violated(f"objects of ours that should not be there: {dict(more)}")
        for complaint in self._heard.heard:
            self._violated(complaint)
        self._heard.heard.clear()
        unplayed = self._upstream.forget()
        if unplayed:
            self._violated(f"{unplayed} scripts not played to their end")
        self.result.lines = self._heard.lines


async def _unseen() -> None:
    # Nothing is instrumented, and nothing of it counts.
    ai = await client()
    for number in range(20):
        await ai.chat().user(f"unseen-{number} ok").execute()
        async for _ in ai.chat().user(f"unseen-{number}s stream:whole:3").stream():
            break
    await ai.close()


def run(settings: Settings, tell: Callable[[str], None]) -> Result:
    """Run a soak.

    Args:
        settings: How long and how wide.
        tell: Gets a line about each cycle.
    """
    with warnings.catch_warnings(), complaints() as heard, outlets() as out, quick_collections():
        warnings.simplefilter("error")
        soak = Soak(settings, out, heard, tell)
        asyncio.run(soak.run())
    return soak.result
