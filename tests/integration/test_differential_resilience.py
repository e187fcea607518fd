"""Whatever an application can observe of retries, breakers, limiters and queues is the same with and without us."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from ai_lib_python.resilience import (
    Backpressure,
    BackpressureConfig,
    CircuitBreaker,
    CircuitBreakerConfig,
    RateLimiter,
    RateLimiterConfig,
    ResilientConfig,
    ResilientExecutor,
    RetryPolicy,
)

from components import breaker, fail, succeed
from differential import Run, both, operations
from opentelemetry_instrumentation_ailib import resilience
from recorder import Recorder
from resilient import fast

Part = Callable[[Run], Awaitable[Any]]


async def outcome(awaitable: Awaitable[Any]) -> Any:
    """Return what something comes to: its result, or its exception for its chain to be compared."""
    results = await asyncio.gather(awaitable, return_exceptions=True)
    return results[0]


# --- components on their own ---


async def breakers(run: Run) -> Any:
    own, eager = run.keep(breaker()), run.keep(breaker(cooldown=0))
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: own.execute(succeed),
        lambda: own.execute(fail),
        lambda: own.execute(succeed),
        lambda: own.execute(succeed, fallback=succeed),
        lambda: own.execute(succeed, fail),
        lambda: CircuitBreaker.execute(own, succeed),
        lambda: own.execute(operation=succeed, fallback=None),
        lambda: eager.execute(fail),
        lambda: eager.execute(succeed),
        lambda: eager.execute(fail),
    ]
    outcomes = [await outcome(call()) for call in calls]
    own.reset()
    return [
        outcomes,
        repr(own),
        own.get_stats(),
        own.reset(),
        await outcome(own.execute(succeed)),
        copy.copy(own).state,
    ]


async def a_breakers_timeout(run: Run) -> Any:
    own = run.keep(CircuitBreaker(CircuitBreakerConfig(timeout_seconds=0.01)))
    return await outcome(own.execute(lambda: asyncio.sleep(30)))


async def limiters(run: Run) -> Any:
    own = run.keep(RateLimiter(RateLimiterConfig(requests_per_second=500, burst_size=2, initial_tokens=1)))
    free = run.keep(RateLimiter())
    waits = [await own.acquire(), await own.acquire(tokens=1), await own.acquire(2), await free.acquire(5)]
    return [[type(wait) for wait in waits], waits[0], waits[3], await free.try_acquire(), own.is_limited]


async def queues(run: Run) -> Any:
    own = run.keep(Backpressure(BackpressureConfig(max_concurrent=1, queue_timeout=0.01)))
    free = run.keep(Backpressure(BackpressureConfig.unlimited()))
    seen = []
    permit: Any = own.acquire()
    async with permit as given, free.acquire():
        seen += [given, await outcome(own.execute(succeed)), await own.try_acquire(), repr(own)]
    return [*seen, await own.execute(succeed), await outcome(free.execute(fail)), own.get_stats()]


async def what_a_permit_is(run: Run) -> Any:
    own = run.keep(Backpressure(BackpressureConfig(max_concurrent=2)))
    log: list[str] = []

    @own.acquire()
    async def guarded(name: str) -> str:
        log.append(f"{name} of {own.current_inflight}")
        return name

    permit = own.acquire()
    kinds = [
        *(hasattr(permit, name) for name in ("__aenter__", "__enter__", "__iter__", "__len__", "__call__", "gen")),
        isinstance(permit, contextlib._AsyncGeneratorContextManager),
        isinstance(permit, contextlib.AbstractAsyncContextManager),
        isinstance(permit, contextlib.AsyncContextDecorator),
        isinstance(permit, contextlib.AbstractContextManager),
        inspect.iscoroutinefunction(guarded),
        callable(permit),
        permit.__doc__,
    ]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(permit)
        entered = own.current_inflight
    again = await outcome(permit.__aenter__())  # A permit is good for one time.
    return [kinds, entered, again, await guarded("a"), await guarded(name="b"), log, own.current_inflight]


async def what_passes_a_permit(run: Run) -> Any:
    own, seen = run.keep(Backpressure(BackpressureConfig(max_concurrent=1))), []
    for error in (
        ValueError("no"),
        asyncio.TimeoutError(),
        asyncio.CancelledError(),
        StopAsyncIteration(),
        KeyError(1),
    ):
        try:
            async with own.acquire():
                raise error
        except BaseException as caught:
            seen.append([caught is error, caught])
    return [seen, own.current_inflight]


async def policies(run: Run) -> Any:
    heard: list[Any] = run.keep([])
    answers = iter([ConnectionError("no"), *[_ThrottledError()] * 5])

    def listen(*arguments: Any) -> None:
        heard.append(arguments)

    def enough(*arguments: Any) -> None:
        raise PermissionError("enough")

    async def ask() -> Any:
        raise next(answers)

    policy = RetryPolicy(fast(1))
    return [
        await outcome(policy.execute(ask)),
        await outcome(policy.execute(ask, listen)),
        await outcome(policy.execute(operation=ask, on_retry=listen)),
        await outcome(policy.execute(ask, enough)),
        await outcome(policy.execute(succeed, on_retry=enough)),
    ]


class _ThrottledError(Exception):
    @property
    def error_class(self) -> Any:
        from ai_lib_python.errors import ErrorClass

        return ErrorClass.RATE_LIMITED


async def executors(run: Run) -> Any:
    config = ResilientConfig(
        retry=fast(1),
        rate_limit=RateLimiterConfig.from_rps(1000),
        circuit_breaker=CircuitBreakerConfig(failure_threshold=2, cooldown_seconds=60),
        backpressure=BackpressureConfig(max_concurrent=2),
    )
    executor: Any = run.keep(ResilientExecutor(config, name="own"))
    heard = run.keep([])
    outcomes = [await outcome(executor.execute_with_stats(it)) for it in (succeed, fail)]
    outcomes.append(await outcome(executor.execute(fail, lambda *it: heard.append(it))))
    outcomes.append(await outcome(executor.execute(operation=succeed)))
    # A rate and a wait that are measured.
    stats = {**executor.get_stats(), "rate_limiter": None}
    return [[it if isinstance(it, Exception) else it[0] for it in outcomes], stats, executor.reset(), executor.name]


async def the_order_of_a_burst(run: Run) -> Any:
    config = ResilientConfig(
        rate_limit=RateLimiterConfig.unlimited(),
        circuit_breaker=CircuitBreakerConfig(),
        backpressure=BackpressureConfig(max_concurrent=2),
    )
    executor, log = run.keep(ResilientExecutor(config)), run.keep([])

    async def work(number: int) -> int:
        log.append(f"{number} begins")
        await asyncio.sleep(0)
        log.append(f"{number} ends")
        return number

    return await asyncio.gather(*(executor.execute(lambda n=n: work(n)) for n in range(6)))  # type: ignore[misc]


async def wrong_arguments(run: Run) -> Any:
    parts: tuple[Any, ...] = (breaker(), RateLimiter(), RetryPolicy(), ResilientExecutor())
    calls: list[Any] = []
    for part in parts:
        method = getattr(part, "acquire", None) or part.execute
        for arguments in ((), (1, 2, 3)):
            try:
                calls.append(await outcome(method(*arguments)))
            except TypeError as error:
                calls.append(error)
    makers: tuple[Any, ...] = (CircuitBreaker, RateLimiter, Backpressure, ResilientExecutor)
    for make in makers:
        calls.append(await outcome(asyncio.to_thread(make, 1, 2, 3)))
    return [str(it).splitlines() for it in calls]


async def what_the_methods_are(run: Run) -> Any:
    found = []
    for row in resilience.ROWS:
        owner, name, _ = row.resolve()
        method = getattr(owner, name)
        # A function that returns a coroutine is none that is one: it says about itself what it said before.
        found.append([row.target, inspect.iscoroutinefunction(method), inspect.isfunction(method)])
        found.append([method.__name__, method.__qualname__, method.__module__, method.__doc__])
        found.append([str(inspect.signature(method)), asyncio.iscoroutinefunction(method)])
    return found


PARTS: list[Part] = [
    breakers,
    a_breakers_timeout,
    limiters,
    queues,
    what_a_permit_is,
    what_passes_a_permit,
    policies,
    executors,
    the_order_of_a_burst,
    wrong_arguments,
    what_the_methods_are,
]


@pytest.mark.parametrize("part", PARTS)
async def test_components_on_their_own(recorder: Recorder, part: Part) -> None:
    seen = await both(recorder, part)
    assert seen.differences() == []
    assert "result" in seen.without
    assert operations(recorder) == []
