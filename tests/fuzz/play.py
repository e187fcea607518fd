"""Plays a scenario without the instrumentation, and with it where nobody listens and where everybody does."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine
from typing import Any
from unittest import mock

import httpx
from answers import HOST, Provider
from calls import Call, Plan
from consumers import EXECUTE, made
from performance import Performance, complaints, instrumented, manifests_on_disk, settle, unheard
from policies import SAME
from scenarios import Scenario
from virtual_time import Clock, run

from differential import Run, described, observed_by
from provider import provider

CLOSING = "an error occurred during closing of asynchronous generator"


def play(scenario: Scenario) -> Performance:
    """Play a scenario three times, in loops, clocks and providers of its own each time."""
    performance = Performance(scenario)
    with manifests_on_disk(scenario), complaints(performance.faults):
        performance.without = _seen(scenario, performance, Provider(scenario.answers))
        with unheard(performance):
            performance.unheard = _seen(scenario, performance, Provider(scenario.answers))
        performance.begun.clear()
        performance.provider = Provider(scenario.answers)
        with instrumented(performance):
            performance.instrumented = _seen(scenario, performance, performance.provider)
    return performance


def play_over_a_socket(scenario: Scenario) -> Performance:
    """Play a scenario three times by the clock of the machine, with calls of one kind and no waits in it."""
    performance = Performance(scenario)
    no_network = mock.AsyncMock(side_effect=httpx.ConnectError("There is no network."))
    with (
        manifests_on_disk(scenario),
        complaints(performance.faults),
        mock.patch.object(httpx.AsyncClient, "get", no_network),  # Which is how manifests are fetched.
    ):
        asyncio.run(_play_over_a_socket(performance))
    return performance


async def _play_over_a_socket(performance: Performance) -> None:
    scenario, held = performance.scenario, list[Any]()
    streamed = scenario.plans[0].how != EXECUTE
    perform = functools.partial(_perform, scenario=scenario, performance=performance, held=held)
    async with provider(*(answer.steps(streamed=streamed) for answer in scenario.answers)) as server:
        performance.without = await observed_by(server, perform)
        with unheard(performance):
            performance.unheard = await observed_by(server, perform)
        performance.begun.clear()
        with instrumented(performance):
            performance.instrumented = await observed_by(server, perform)
            settle(performance.spans)
        performance.provider.requests = list(server.requests)


def _seen(scenario: Scenario, performance: Performance, answering: Provider) -> dict[str, Any]:
    held: list[Any] = []
    clock, seen = Clock(), Run(f"http://{HOST}/v1")
    perform = functools.partial(_perform, seen, scenario=scenario, performance=performance, held=held)
    with answering.instead_of_a_network(), clock.shown():
        failures, heard = run(clock, perform)
        told = {
            "failures": described(failures),
            "kept": described(seen.kept),
            "requests": described(answering.requests),
            "time": clock.waited,
            # Which streams complain that are open when the loop shuts down, depends on where they are in memory.
            "complaints": described(sorted(it for it in heard if not it[0].startswith(CLOSING))),
        }
        # Nobody holds on to a stream any more.
        held.clear()
        for failure in (*failures, *(call.failed for call in performance.begun)):
            _forget_frames(failure)
        settle(performance.spans)
    return told


def _forget_frames(error: BaseException | None) -> None:
    if error is not None:
        error.__traceback__ = None
        _forget_frames(error.__cause__)
        _forget_frames(error.__context__)


async def _perform(
    seen: Run, *, scenario: Scenario, performance: Performance, held: list[Any]
) -> list[BaseException | None]:
    try:
        client = await seen.client(SAME, **scenario.policy.options())
    except Exception as error:
        return [error]
    performance.executor = client._executor
    running = []
    for plan in scenario.plans:
        call = Call(plan, performance.begun)
        seen.keep(call.seen)
        running.append(_started(plan, made(call, client, held)))
        if not scenario.together:
            await asyncio.wait(running)
    await asyncio.wait(running)
    return [None if task.cancelled() else task.exception() for task in running]


def _started(plan: Plan, call: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(call)
    if plan.cancel_at is not None:
        loop.call_later(plan.cancel_at, task.cancel)
    if plan.cancel_turn is not None:
        _cancel_in(plan.cancel_turn, task, loop)
    return task


def _cancel_in(turns: int, task: asyncio.Task[None], loop: asyncio.AbstractEventLoop) -> None:
    if turns:
        loop.call_soon(_cancel_in, turns - 1, task, loop)
    else:
        task.cancel()
