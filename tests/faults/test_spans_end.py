"""Whatever clocks and hooks do: no span ends before it began, none stays open, and no duration is negative."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from clock import set_clocks
from test_clocks import TICKS, Clock, each_case, each_wall, lasted
from test_hooks import each_hook, hooked
from unmoved import LABELS, Case, connected, unmoved

from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from recorder import Recorder


@each_case
@each_wall
@pytest.mark.parametrize("ticks", TICKS.values(), ids=TICKS)
def test_no_span_ends_before_it_began(
    wall: Clock, ticks: Clock, case: Case, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK would also complain of a negative measurement, and fail the test."""
    set_clocks(monkeypatch, wall=wall(), ticks=ticks())
    unmoved(recorder, case)
    assert [(span.name, lasted(span)) for span in recorder.spans() if lasted(span) < 0] == []
    values = [value for span in recorder.spans() for value in (span.attributes or {}).values()]
    assert [value for value in values if isinstance(value, float) and value < 0] == []


@each_hook
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_hook_that_ends_the_program_leaves_no_span_open(hook: str, streamed: bool, recorder: Recorder) -> None:
    def end(*_: Any, **__: Any) -> None:
        raise SystemExit

    AiLibInstrumentor().instrument(**recorder.providers, **hooked(hook, end))
    ai = await connected()
    with pytest.raises(SystemExit):
        if streamed:
            _ = [event async for event in ai.chat().user("Hello?").stream()]
        else:
            await ai.chat().user("Hello?").execute()
    AiLibInstrumentor().uninstrument()
    await ai.close()
    assert recorder.names().count("chat gpt-4o") == 1
    assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]


async def test_a_call_that_is_closed_on_its_way_was_cancelled(instrumented: Recorder) -> None:
    """Its loop was stopped, say, and its task collected. Of the provider that says nothing."""

    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    ai = await connected(never)
    call = ai.chat().user("Hello?").execute()
    call.send(None)
    call.close()
    await ai.close()
    calls = {span.name: (span.attributes or {}).get("error.type") for span in instrumented.spans()}
    del calls["ai_lib.protocol.load"]
    assert calls == {"ai_lib.request.compile": None, "ai_lib.http.transport": "cancelled", "chat gpt-4o": "cancelled"}
    assert instrumented.points("ai_lib.requests") == [(LABELS, 1)]
    assert instrumented.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
    failure = {**LABELS, "type": "cancelled", "stage": "http.transport"}
    assert instrumented.points("ai_lib.errors") == [(failure, 1)]
    assert instrumented.counts("ai_lib.attempts", "type") == {"cancelled": 1}
    assert instrumented.points("ai_lib.provider.health") == []
