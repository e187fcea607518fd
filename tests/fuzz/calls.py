"""One call of an application: what it is going to do, and what it sees."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.context import get_current


@dataclass(frozen=True)
class Plan:
    """A call and what becomes of it.

    Attributes:
        how: The name of the consumer, for a stream, or how the call is made.
        after: How many events a consumer takes that does not take them all.
        pause: Seconds it spends on each.
        elsewhere: Whether each event is asked for in a task of its own.
        with_stats: Whether the runtime's statistics are asked for.
        cancel_at: Seconds after which the task is cancelled.
        cancel_turn: The turn of the loop in which it is.
        prompt: What is asked.
        options: Methods of the runtime's request builder, with their argument.
        extras: What goes into the payload besides.
    """

    how: str = "read"
    after: int = 1
    pause: float = 0.0
    elsewhere: bool = False
    with_stats: bool = False
    cancel_at: float | None = None
    cancel_turn: int | None = None
    prompt: str = "Hello?"
    options: dict[str, Any] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Times:
    """Seconds, which only the loop of a scenario knows exactly. With slots, they are not compared.

    Attributes:
        first: How long it waited for the first event.
        waited: How long it waited in all.
        paused: How long it kept a stream waiting.
    """

    first: float = 0.0
    waited: float = 0.0
    paused: float = 0.0


@dataclass
class Seen:
    """What the application sees of one call.

    Attributes:
        began: Whether it ever waited for something.
        times: How long it took.
        events: What came.
        exhausted: Whether the stream said that it was at its end.
        failed: What waiting for the call raised.
        settled: Whether the application is done with it, and holds on to nothing of it.
        intact: Whether the context was the application's own whenever it had control.
        kept: What else can be seen.
    """

    plan: Plan
    began: bool = False
    times: Times = field(default_factory=Times)
    events: list[Any] = field(default_factory=list)
    exhausted: bool = False
    failed: BaseException | None = None
    settled: bool = False
    intact: bool = True
    kept: list[Any] = field(default_factory=list)


class Call:
    """One call of the application.

    Args:
        plan: What it does.
        begun: Where it says that it began, in the order in which calls do.
    """

    def __init__(self, plan: Plan, begun: list[Seen]) -> None:
        self.plan, self.seen, self._begun = plan, Seen(plan), begun
        self._context = get_current()

    def begin(self) -> None:
        """Note that the call begins, if it has not begun before."""
        if not self.seen.began:
            self.seen.began = True
            self._begun.append(self.seen)

    async def waited_for(self, awaitable: Callable[[], Awaitable[Any]]) -> Any:
        """Wait for the runtime, and note how that goes."""
        seen, loop = self.seen, asyncio.get_running_loop()
        began = loop.time()
        self.begin()
        try:
            return await awaitable()
        except StopAsyncIteration:
            seen.exhausted = True
            raise
        except BaseException as error:
            seen.failed = error
            raise
        finally:
            seen.times.waited += loop.time() - began
            seen.intact &= get_current() is self._context

    async def event(self, events: Any) -> Any:
        """Return the next event; at the end, and when it is cancelled, raise what the stream does."""
        step = self._step(events)
        return await (asyncio.ensure_future(step) if self.plan.elsewhere else step)

    async def _step(self, events: Any) -> Any:
        seen = self.seen
        event = await self.waited_for(events.__anext__)
        if not seen.events:
            seen.times.first = seen.times.waited
        # Here, since who waits for another task may be cancelled when that has its event already.
        seen.events.append(event)
        return event

    async def pause(self) -> None:
        """Spend some time, which is the stream's consumer's."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            if self.plan.pause:
                await asyncio.sleep(self.plan.pause)
        finally:
            self.seen.times.paused += loop.time() - began
            self.seen.intact &= get_current() is self._context

    async def take(self, events: Any, count: float) -> None:
        """Take so many events, or all there are."""
        while len(self.seen.events) < count:
            try:
                await self.event(events)
            except StopAsyncIteration:
                break
            await self.pause()
