"""What an application does with a call: reads a stream to its end, leaves it in any way, cancels, or simply waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from calls import Call, Plan
from frames import UNIT
from hypothesis import strategies as st
from values import JUNK, NUMBERS, SECRET, TEXTS, mostly, optional


async def _read(call: Call, events: Any) -> None:
    await call.take(events, float("inf"))


async def _read_on_after_the_end(call: Call, events: Any) -> None:
    await call.take(events, float("inf"))
    call.seen.kept.append([event async for event in events])


async def _drop(call: Call, events: Any) -> None:
    await call.take(events, call.plan.after)


async def _hold(call: Call, events: Any) -> None:
    await call.take(events, call.plan.after)


async def _close(call: Call, events: Any) -> None:
    await call.take(events, call.plan.after)
    await events.aclose()
    await events.aclose()


async def _close_in_another_task(call: Call, events: Any) -> None:
    await call.take(events, call.plan.after)
    await asyncio.ensure_future(events.aclose())


async def _ignore(call: Call, events: Any) -> None:
    pass


async def _close_unread(call: Call, events: Any) -> None:
    await events.aclose()


async def _fail(call: Call, events: Any) -> None:
    call.begin()
    async for event in events:
        call.seen.kept.append(event)
        raise LookupError("in the body of the loop")


async def _throw(call: Call, events: Any) -> None:
    await call.take(events, call.plan.after)
    await events.athrow(LookupError("thrown in"))


async def _send(call: Call, events: Any) -> None:
    await call.take(events, call.plan.after)
    sent = "sent in" if call.seen.began else None
    call.seen.kept.append(await call.waited_for(lambda: events.asend(sent)))


async def _read_twice_at_once(call: Call, events: Any) -> None:
    async def step() -> Any:
        call.begin()
        return await events.__anext__()

    call.seen.kept.append(await asyncio.gather(step(), step(), return_exceptions=True))


async def _use_the_runtimes_cancellable_stream(call: Call, events: Any) -> None:
    from ai_lib_python.client.cancel import CancellableStream, CancelToken

    token = CancelToken()
    stream = CancellableStream(events, token)
    call.begin()
    async for event in stream:
        call.seen.kept.append(event)
        if len(call.seen.kept) >= call.plan.after:
            token.cancel()
    await stream.close()


_READERS: dict[str, Callable[[Call, Any], Awaitable[None]]] = {
    "read": _read,
    "read on after the end": _read_on_after_the_end,
    "drop": _drop,
    "hold": _hold,
    "close": _close,
    "close in another task": _close_in_another_task,
    "ignore": _ignore,
    "close unread": _close_unread,
}
_OTHERS: dict[str, Callable[[Call, Any], Awaitable[None]]] = {
    "fail": _fail,
    "throw": _throw,
    "send": _send,
    "read twice at once": _read_twice_at_once,
    "use the runtime's cancellable stream": _use_the_runtimes_cancellable_stream,
}
CONSUMERS = {**_READERS, **_OTHERS}
FORESEEN = frozenset(_READERS)
"""Consumers of which it is known how their streams end, and when."""
HOLDING = frozenset({"hold", "ignore"})
"""Those that do not let go of their stream."""

EXECUTE = "execute"
"""How a call is made that is none of a stream."""


async def made(call: Call, client: Any, held: list[Any]) -> None:
    """Make a call and see it through.

    Args:
        call: The call.
        client: The runtime's client.
        held: Where streams are put that the application holds on to.
    """
    plan, seen = call.plan, call.seen
    request = client.chat().system("Be brief.").user(plan.prompt)
    for name, value in plan.options.items():
        getattr(request, name)(value)
    for name, value in plan.extras.items():
        request.param(name, value)
    seen.kept.append({**vars(request), "_client": None})
    if plan.how == EXECUTE:
        execute = request.execute_with_stats if plan.with_stats else request.execute
        seen.kept.append(await call.waited_for(execute))
        return
    if plan.with_stats:
        events, statistics = await request.stream_with_stats()
        seen.kept.append(statistics)
    else:
        events = request.stream()
    if plan.how in HOLDING:
        held.append(events)
    await CONSUMERS[plan.how](call, events)
    seen.settled = plan.how not in HOLDING


_OPTIONS = optional(
    temperature=NUMBERS.filter(lambda number: abs(number) < 2**63),
    max_tokens=st.integers(0, 99),
    top_p=st.just(0.5),
    stop=st.lists(st.sampled_from(["END", "é" * 300]), max_size=2),
    tool_choice=st.sampled_from(["auto", "none"]),
)
# What the application itself sets is recorded as it is, and has no business to be a credential.
_EXTRAS = st.dictionaries(
    st.sampled_from(["seed", "n", "top_k", "temperature", "response_format", "reasoning_effort", "stop", "x"]),
    JUNK.filter(lambda value: SECRET not in str(value)),
    max_size=2,
)


def _plans(how: st.SearchStrategy[str]) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        how=how,
        after=st.integers(0, 3),
        pause=st.sampled_from([0.0, 0.0, UNIT]),
        elsewhere=st.booleans(),
        with_stats=st.booleans(),
        cancel_at=mostly(st.none(), st.sampled_from([0.0, UNIT / 2, 1.5 * UNIT])),
        cancel_turn=mostly(st.none(), st.integers(0, 12)),
        prompt=TEXTS,
        options=mostly(st.just({}), _OPTIONS),
        extras=mostly(st.just({}), _EXTRAS),
    )


CALLS = _plans(st.just(EXECUTE))
STREAMS = _plans(st.sampled_from(["read", *CONSUMERS]))
