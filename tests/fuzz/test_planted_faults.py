"""Faults planted in the instrumentation do not pass: what the generated scenarios are checked for can fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

import pytest
from answers import Answer
from calls import Plan
from checks import check
from consumers import EXECUTE
from frames import UNIT
from manifests import TOKEN
from play import play
from policies import OTHER, Policy
from scenarios import Scenario, Telemetry
from values import SECRET

from opentelemetry_instrumentation_ailib import attempts, exchange, fitting, operation, operation_end, pipeline, stages

MANIFEST = {
    "id": "fuzzed",
    "endpoint": {"base_url": "http://elsewhere.example/v1", "auth": {"type": "bearer", "token_env": TOKEN}},
    "streaming": {"decoder": {"format": "sse", "strategy": "openai_chat"}},
}
SAID = b'data: {"choices": [{"delta": {"content": "Hello"}}]}\n\n'
OVERLOADED = Answer(503, body=(b'{"error": {"message": "You sent %s."}}' % SECRET.encode(),))
SCENARIO = Scenario(
    (MANIFEST, MANIFEST),
    "dist/v2",
    (OVERLOADED, OVERLOADED, Answer(body=(b"{}",)), Answer(chunks=(SAID, UNIT, SAID, b"data: [DONE]\n\n"))),
    (Plan(EXECUTE), Plan("read", pause=UNIT, prompt=f"Is it {SECRET}?")),
    policy=Policy(retry={"max_retries": 1, "min_delay_ms": 0}, fallbacks=(OTHER,)),
    telemetry=Telemetry(capture="SPAN_AND_EVENT"),
)

_end_span = operation_end._end_span


def _end_twice(*arguments: Any) -> None:
    _end_span(*arguments)
    _end_span(*arguments)


async def _lossy(frames: AsyncIterable[Any], *_: Any) -> AsyncGenerator[Any, None]:
    lost = 1
    async for frame in frames:
        if not lost:
            yield frame
        lost = 0


async def _late(body: AsyncIterable[bytes], state: Any) -> AsyncGenerator[bytes, None]:
    async for chunk in body:
        await asyncio.sleep(UNIT)
        yield chunk


async def _untimed(body: AsyncIterable[bytes], state: Any) -> AsyncGenerator[bytes, None]:
    async for chunk in body:
        state.bytes += len(chunk)
        yield chunk


def _fail(*_: Any, **__: Any) -> None:
    raise LookupError("a fault of ours")


def _nothing(*_: Any, **__: Any) -> None:
    pass


FAULTS: dict[str, tuple[Any, str, Any]] = {
    "a span is never ended": (operation_end, "_end_span", _nothing),
    "a span is ended twice": (operation_end, "_end_span", _end_twice),
    "a call is not measured": (operation_end, "_measure", _nothing),
    "an exchange is not counted": (exchange, "end_attempt", _nothing),
    "a stage is not recorded": (operation.Operation, "record_stage_duration", _nothing),
    "credentials are not known": (fitting, "forms", lambda *_: []),
    "a line is missing in the log": (operation_end.logs, "request_finished", _nothing),
    "a retry fails in us": (attempts.logs, "retry", _fail),
    "a frame is lost": (pipeline, "_timed", _lossy),
    "a chunk is held up": (stages, "timed_body", _late),
    "a wait is given to somebody else": (stages, "timed_body", _untimed),
}


def test_the_scenario_passes_without_a_fault() -> None:
    check(play(SCENARIO))


@pytest.mark.noisy("opentelemetry")
@pytest.mark.parametrize(("place", "name", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, fault: Any) -> None:
    monkeypatch.setattr(place, name, fault)
    with pytest.raises(AssertionError):
        check(play(SCENARIO))
