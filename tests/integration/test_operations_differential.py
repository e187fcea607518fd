"""Embeddings, rerank and speech: what an application observes is the same without and with the instrumentation."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from differential import Both, Run, Scenario, encoded, instrumentation, observed_by
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from other_clients import CALLS, Call, vectors
from provider import Provider, Step, body, provider
from recorder import Recorder

EVERY = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


BOUNDARY = re.compile(rb"[0-9a-f]{32}")


async def opened(run: Run, call: Call, **options: Any) -> Any:
    """Return a client whose state is compared."""
    return run.keep(await call.open(run.base_url, **options))


async def outcome(awaitable: Awaitable[Any]) -> Any:
    """Return a result, or the exception."""
    return (await asyncio.gather(awaitable, return_exceptions=True))[0]


async def observed(server: Provider, scenario: Scenario) -> dict[str, Any]:
    """Run a scenario and return what is seen of it; the boundary of a form's parts is random."""
    seen = await observed_by(server, scenario)
    return {**seen, "requests": [BOUNDARY.sub(b"boundary", request) for request in seen["requests"]]}


async def compare(recorder: Recorder, scenario: Scenario, *scripts: Sequence[Step], **hooks: Any) -> Both:
    """Run a scenario without and with the instrumentation, and fail where there is a difference."""
    async with provider(*scripts) as server:
        without = await observed(server, scenario)
        AiLibInstrumentor().instrument(**recorder.providers, **hooks)
        try:
            seen = Both(without, await observed(server, scenario))
        finally:
            AiLibInstrumentor().uninstrument()
    assert seen.differences() == []
    assert [value for _, value in recorder.points("ai_lib.requests.in_flight")] in ([], [0])
    encoded(recorder)  # An exporter that cannot take something logs that, which fails a test.
    return seen


def operations(recorder: Recorder, call: Call) -> int:
    return recorder.names().count(call.span)


ANSWERS: dict[str, list[Step]] = {
    "refused, 401": body({"error": {"message": "Who?", "type": "authentication_error"}}, 401),
    "refused, 404": body(b"<html>", 404),
    "refused, 429": body({"error": "Slow down"}, 429, {"retry-after": "3", "x-request-id": "req-1"}),
    "refused, 500": body([], 500),
    "moved": body(b"", 302, {"location": "http://127.0.0.1:9/v1"}),
    "hung up": [],
    "cut off": [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"],
    "no HTTP": [b"\x00\x01\x02\r\n\r\n"],
    "late": [60.0],
    "no JSON": body(b"<html>"),
    "no UTF-8": body(b'{"text": "\xff"}'),
    "nothing": body(b""),
    "null": body(None),
    "a list": body([]),
    "an empty object": body({}),
    "null for everything": body(
        {"data": None, "usage": None, "model": None, "results": None, "text": None, "segments": None}
    ),
    "numbers for everything": body({"data": [1], "usage": 7, "model": 7, "results": [7], "text": 7, "segments": [7]}),
    "odd usage": vectors(usage={"prompt_tokens": "8", "total_tokens": None}),
    "huge usage": vectors(usage={"prompt_tokens": 2**80}),
    "surrogates": vectors(model="\ud800", usage={"prompt_tokens": 1.5}),
}


ARGUMENTS: list[list[Any]] = [[], [None], [7], [b"bytes"], [[]], [["\ud800"]], [object()], ["a", "b", "c", "d"]]
OPTIONS: list[Any] = [None, {}, "x", 7, object()]


@EVERY
async def test_results_are_as_before(recorder: Recorder, call: Call) -> None:
    async def scenario(run: Run) -> Any:
        return await call.make(await opened(run, call))

    seen = await compare(recorder, scenario, call.answer)
    assert "result" in seen.without
    assert operations(recorder, call) == 1


@EVERY
async def test_answers_of_any_kind_are_taken_as_before(recorder: Recorder, call: Call) -> None:
    async def scenario(run: Run) -> Any:
        client = await opened(run, call, timeout=1.0)
        return {name: await outcome(call.make(client)) for name in ANSWERS}

    seen = await compare(recorder, scenario, *ANSWERS.values())
    assert len(seen.without["requests"]) == len(ANSWERS)
    assert operations(recorder, call) == len(ANSWERS)


@EVERY
async def test_arguments_of_any_kind_are_taken_as_before(recorder: Recorder, call: Call) -> None:
    async def scenario(run: Run) -> Any:
        method = getattr(await opened(run, call), call.method)

        async def made(*args: Any, **kwargs: Any) -> Any:
            return await method(*args, **kwargs)

        calls = [*((first, {}) for first in ARGUMENTS), (["one"], {"unknown": 1}), ([], {"documents": 7})]
        calls += [(["one", option], {}) for option in OPTIONS]
        return [await outcome(made(*args, **kwargs)) for args, kwargs in calls]

    await compare(recorder, scenario, call.answer)


@EVERY
async def test_wrong_arguments_fail_when_the_call_is_made_and_not_when_it_is_awaited(
    recorder: Recorder, call: Call
) -> None:
    async def scenario(run: Run) -> Any:
        method = getattr(await opened(run, call), call.method)
        try:
            awaitable = method(unknown=1)
        except TypeError as error:
            return f"at once: {error}"
        return await outcome(awaitable)

    await compare(recorder, scenario, call.answer)


@EVERY
async def test_methods_look_as_before(recorder: Recorder, call: Call) -> None:
    async def scenario(run: Run) -> Any:
        method = getattr(await opened(run, call), call.method)
        awaitable = method(**call.parameters)
        kinds = asyncio.iscoroutine(awaitable), inspect.iscoroutinefunction(method), str(inspect.signature(method))
        await awaitable
        return [*kinds, method.__name__, method.__qualname__, method.__doc__, method.__module__]

    await compare(recorder, scenario, call.answer)


@EVERY
async def test_a_call_is_cancelled_as_before(recorder: Recorder, call: Call) -> None:
    async def scenario(run: Run) -> Any:
        task = asyncio.ensure_future(call.make(await opened(run, call)))
        while not server.requests:
            await asyncio.sleep(0)
        task.cancel("enough")
        return await outcome(task)

    async with provider([60.0]) as server:
        without = await observed(server, scenario)
        with instrumentation(recorder):
            seen = Both(without, await observed(server, scenario))
    assert seen.differences() == []
    assert operations(recorder, call) == 1


@EVERY
async def test_a_call_never_awaited_does_nothing_as_before(recorder: Recorder, call: Call) -> None:
    async def scenario(run: Run) -> Any:
        call.make(await opened(run, call)).close()

    seen = await compare(recorder, scenario, call.answer)
    assert seen.instrumented["requests"] == []
    assert operations(recorder, call) == 0


@EVERY
@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
async def test_hooks_that_fail_change_nothing(recorder: Recorder, call: Call) -> None:
    def refuse(*_: Any) -> None:
        raise ZeroDivisionError

    async def scenario(run: Run) -> Any:
        return await call.make(await opened(run, call))

    await compare(recorder, scenario, call.answer, request_hook=refuse, response_hook=refuse)
    assert operations(recorder, call) == 1


@EVERY
@pytest.mark.parametrize("chosen", ["none", "request.compile", "http.transport"])
async def test_the_choice_of_stages_changes_nothing(recorder: Recorder, call: Call, chosen: str) -> None:
    async def scenario(run: Run) -> Any:
        return await call.make(await opened(run, call))

    await compare(recorder, scenario, call.answer, stages=chosen)
    assert operations(recorder, call) == 1
