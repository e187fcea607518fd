"""Whatever an application can observe of the runtime is the same with and without the instrumentation."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from ai_lib_python.resilience import (
    BackpressureConfig,
    CircuitBreakerConfig,
    RateLimiterConfig,
    ResilientConfig,
    RetryConfig,
)
from ai_lib_python.types.message import Message
from ai_lib_python.types.tool import ToolDefinition

from differential import Run, both, operations
from provider import Step, body, completion, delta, events
from recorder import Recorder

Call = Callable[[Run, Any], Awaitable[Any]]


def refusal(status: int) -> list[Step]:
    return body({"error": {"message": "No.", "type": "refused"}}, status, {"x-request-id": "req-9"})


def tool(arguments: str, **more: Any) -> dict[str, Any]:
    call = {"index": 0, "function": {"arguments": arguments, **more}}
    return {"choices": [{"index": 0, "delta": {"tool_calls": [{**call, "id": "call-1"}]}}]}


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CALLED = {"id": "call-1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
NEVER = 30.0
CUT: list[Step] = [b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b'{"id": ']
FAULTS = {
    **{str(status): [refusal(status)] for status in (400, 401, 404, 429, 500, 503)},
    "no answer": [[NEVER]],
    "no HTTP": [[b"SSH-2.0\r\n"]],
    "hung up": [[]],
}
BODIES = {
    **FAULTS,
    "text": [body(completion())],
    "tool call": [body({"choices": [{"message": {"tool_calls": [CALLED]}, "finish_reason": "tool_calls"}]})],
    "cut": [CUT],
    "cut by time": [[*CUT, NEVER]],
}
STREAMS = {
    **FAULTS,
    "text": [events(delta("Hel"), delta("lo"), delta(finish="stop"), delta(usage=USAGE))],
    "tool call": [events(tool("", name="add"), tool('{"a":'), tool("1}"), delta(finish="tool_calls"))],
    "error frame": [events(delta("Hel"), {"error": {"message": "overloaded"}}, delta("lo"))],
    "no done signal": [events(delta("Hel"), done=False)],
    "cut": [events(delta("Hel"), done=False, end=False)],
    "cut by time": [[*events(delta("Hel"), done=False, end=False), NEVER]],
    "nothing": [events()],
}


def chat(ai: Any, run: Run) -> Any:
    add = ToolDefinition.from_function("add", "Adds", {"type": "object"})
    return run.keep(
        ai.chat()
        .messages(run.keep([Message.user("1+1?")]))
        .system("Add")
        .temperature(0.5)
        .tools([add])
        .param("seed", 7)
    )


async def execute(run: Run, request: Any) -> Any:
    return await request.execute()


async def execute_with_stats(run: Run, request: Any) -> Any:
    return await request.execute_with_stats()


async def stream(run: Run, request: Any) -> Any:
    seen = run.keep([])
    async for event in request.stream():
        seen.append(event)


async def stream_with_stats(run: Run, request: Any) -> Any:
    iterator, stats = await request.stream_with_stats()
    seen = run.keep([])
    run.keep(stats)
    async for event in iterator:
        seen.append(event)


@pytest.mark.parametrize(
    ("call", "scripts"),
    [
        pytest.param(call, scripts, id=f"{call.__name__}-{name}")
        for calls, table in (((execute, execute_with_stats), BODIES), ((stream, stream_with_stats), STREAMS))
        for call in calls
        for name, scripts in table.items()
    ],
)
async def test_results_exceptions_statistics_and_state(
    recorder: Recorder, call: Call, scripts: list[Sequence[Step]]
) -> None:
    async def scenario(run: Run) -> Any:
        timeout = 0.05 if NEVER in scripts[0] else NEVER
        return await call(run, chat(await run.client(timeout=timeout), run))

    seen = await both(recorder, scenario, *scripts)
    assert seen.differences() == []
    assert seen.without["context untouched"]
    assert len(seen.without["requests"]) == 1
    assert len(operations(recorder)) == 1


@pytest.mark.parametrize("call", [execute, execute_with_stats, stream, stream_with_stats])
async def test_a_connection_refused(recorder: Recorder, call: Call) -> None:
    async def scenario(run: Run) -> Any:
        return await call(run, chat(await run.client(base_url="http://127.0.0.1:1/v1"), run))

    seen = await both(recorder, scenario)
    assert seen.differences() == []
    assert "Connection failed" in seen.without["error"]["message"]


FAST = RetryConfig(max_retries=2, min_delay_ms=1, max_delay_ms=2)
BREAKER = CircuitBreakerConfig(failure_threshold=2, cooldown_seconds=60)
IMPATIENT = CircuitBreakerConfig(failure_threshold=2, cooldown_seconds=60, timeout_seconds=0.25)
RESILIENCE: dict[str, tuple[dict[str, Any], list[list[Step]]]] = {
    "fallback": (
        {"with_fallbacks": ["anthropic/c", "selective/org/m"]},
        [refusal(500), refusal(429), body(completion())],
    ),
    "fallbacks that fail": ({"with_fallbacks": ["selective/m"]}, [refusal(500), body([1])]),
    "fallback for a bug": ({"with_fallbacks": ["selective/m"]}, [body(b"<html>"), body(completion())]),
    "retry": ({"with_retry": FAST}, [refusal(500), refusal(503), body(completion())]),
    "retries used up": ({"with_retry": FAST}, [refusal(500)]),
    "nothing to retry": ({"with_retry": FAST}, [refusal(400)]),
    "breaker": ({"with_circuit_breaker": BREAKER}, [refusal(500)]),
    "breaker's timeout": ({"with_circuit_breaker": IMPATIENT}, [[NEVER]]),
    "back-pressure": (
        {"with_resilience": ResilientConfig(backpressure=BackpressureConfig(max_concurrent=1, queue_timeout=0.01))},
        [*[body(completion())] * 3, [0.1, *body(completion())]],
    ),
    "rate limit": (
        {"with_rate_limit": RateLimiterConfig(requests_per_second=200, burst_size=1, initial_tokens=1)},
        [body(completion())],
    ),
    "all of it": ({"with_fallbacks": ["selective/m"], "production_ready": None}, [refusal(401), body(completion())]),
}


@pytest.mark.parametrize(("options", "scripts"), RESILIENCE.values(), ids=RESILIENCE)
async def test_resilience(recorder: Recorder, options: dict[str, Any], scripts: list[list[Step]]) -> None:
    async def scenario(run: Run) -> Any:
        ai = await run.client(**options)
        first = [await asyncio.gather(execute(run, chat(ai, run)), return_exceptions=True) for _ in range(3)]
        both_at_once = (execute(run, chat(ai, run)), execute_with_stats(run, chat(ai, run)))
        return [first, await asyncio.gather(*both_at_once, return_exceptions=True), ai.get_resilience_stats()]

    seen = await both(recorder, scenario, *scripts)
    assert seen.differences() == []
    assert "result" in seen.without
    assert len(operations(recorder)) == 5


async def test_what_a_stream_is(recorder: Recorder) -> None:
    async def scenario(run: Run) -> Any:
        ai = await run.client()
        streams = [ai.chat().stream(), (await ai.chat().stream_with_stats())[0]]
        return [type(streams[0]), type(streams[1]), *map(inspect.isasyncgen, streams)]

    seen = await both(recorder, scenario)
    assert seen.differences() == []
    assert seen.without["result"] == [
        "builtins.list",
        "builtins.type async_generator",
        "builtins.type async_generator",
        "True",
        "True",
    ]
