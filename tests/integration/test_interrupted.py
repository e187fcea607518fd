"""A signal's handler raises while our code runs, as one that limits the time does: what is interrupted is the call."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import StatusCode

from conftest import client
from opentelemetry_instrumentation_ailib import AiLibInstrumentor, fields
from recorder import Open, Recorder

LABELS = {"provider": "openai", "model": "gpt-4o", "operation": "chat"}


class TimeLimitError(Exception):
    """What limits the time by a signal."""


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    def exceed(*_: object) -> NoReturn:
        raise TimeLimitError

    before = signal.signal(signal.SIGTERM, exceed)
    yield
    signal.signal(signal.SIGTERM, before)


def interrupt(*_: Any) -> None:
    signal.raise_signal(signal.SIGTERM)


class Interrupting(SpanProcessor):
    """Is interrupted where one span begins or ends, once.

    Args:
        moment: ``on_start`` or ``on_end``.
        name: The span.
    """

    def __init__(self, moment: str, name: str) -> None:
        self.name: str | None = name
        setattr(self, moment, self.meet)

    def meet(self, span: Any, parent_context: Any = None) -> None:
        if span.name == self.name:
            self.name = None
            interrupt()


@pytest.mark.swallowed
@pytest.mark.parametrize("raised", [TimeLimitError, KeyboardInterrupt])
async def test_a_call_that_is_interrupted_while_its_request_is_described_leaves_no_span_open(
    raised: type[BaseException], recorder: Recorder, mock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = Open()
    recorder.tracer_provider.add_span_processor(spans)

    def meet(_: Any) -> NoReturn:
        if raised is TimeLimitError:
            interrupt()
        raise raised

    monkeypatch.setattr(fields, "request_attributes", meet)
    with pytest.raises(raised):
        await called(recorder, mock)
    assert "chat gpt-4o" in spans.begun
    assert spans.names == []


async def called(recorder: Recorder, mock: str, **options: Any) -> None:
    async with await client(base_url=mock) as ai:
        AiLibInstrumentor().instrument(**recorder.providers, **options)
        try:
            await ai.chat().user("Hello?").execute()
        finally:
            AiLibInstrumentor().uninstrument()


@pytest.mark.swallowed
@pytest.mark.parametrize(
    ("moment", "name", "failed"),
    [
        ("on_start", "ai_lib.http.transport", True),
        ("on_end", "ai_lib.http.transport", True),
        ("on_end", "ai_lib.request.compile", True),
        ("on_end", "chat gpt-4o", False),
    ],
)
async def test_a_call_that_is_interrupted_in_our_code_ends_as_interrupted_and_once(
    moment: str, name: str, failed: bool, recorder: Recorder, mock: str
) -> None:
    recorder.tracer_provider.add_span_processor(Interrupting(moment, name))
    with pytest.raises(TimeLimitError):
        await called(recorder, mock)
    span = recorder.span("chat gpt-4o")
    assert span.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)
    assert recorder.points("ai_lib.requests") == [(LABELS, 1)]
    assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
    assert sum(value for _, value in recorder.points("ai_lib.errors")) == failed


@pytest.mark.swallowed
@pytest.mark.parametrize("hook", ["request_hook", "response_hook"])
async def test_a_call_that_is_interrupted_in_a_hook_is_ended(hook: str, recorder: Recorder, mock: str) -> None:
    with pytest.raises(TimeLimitError):
        await called(recorder, mock, **{hook: interrupt})
    assert [span.name for span in recorder.spans()].count("chat gpt-4o") == 1
    assert recorder.points("ai_lib.requests") == [(LABELS, 1)]
    assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
