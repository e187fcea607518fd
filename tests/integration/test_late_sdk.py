"""An SDK that is set up when the runtime has been instrumented, and perhaps in the middle of a call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry import metrics, trace
from test_chat import LABELS, OPERATION

from differential import instrumentation
from in_process import FRAMES, completed, connected
from opentelemetry_instrumentation_ailib.operations import chat
from recorder import Recorder
from test_listeners import NOBODY, STANDING_IN, no_global_providers  # noqa: F401 - a fixture

HEALTH = "ai_lib.provider.health"  # It is told of providers, and not of calls.
CALL = ["ai_lib.http.transport", "ai_lib.pipeline.process", "ai_lib.request.compile", OPERATION]
STREAM = ["ai_lib.event.map", *CALL]


class Late(Recorder):
    """A recorder whose providers become the global ones when somebody says so.

    Args:
        names: The arguments of ``instrument()`` for which it gets what stands for the global providers.
        arguments: Its other arguments.
    """

    def __init__(self, *names: str, **arguments: Any) -> None:
        super().__init__()
        self._arguments = {**arguments, **{name: STANDING_IN[name]() for name in names}}

    @property
    def providers(self) -> dict[str, Any]:
        """The arguments for ``instrument()``."""
        return self._arguments

    def set(self) -> None:
        """Make the providers the global ones."""
        trace.set_tracer_provider(self.tracer_provider)
        metrics.set_meter_provider(self.meter_provider)


@pytest.fixture
def late() -> Iterator[Late]:
    """The runtime, instrumented, before an SDK is set up."""
    recorder = Late()
    with instrumentation(recorder):
        yield recorder


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody listen to the warnings of streams, as pytest does."""
    monkeypatch.setattr(chat, "streams_are_logged", lambda: False)


async def call(ai: Any) -> None:
    """Make a call."""
    await ai.chat().user("Hello?").execute()


async def stream(ai: Any) -> None:
    """Read a stream."""
    assert len([event async for event in ai.chat().user("Hello?").stream()]) == len(FRAMES)


Way = Callable[[Any], Awaitable[None]]
ways = pytest.mark.parametrize(("way", "spans"), [(call, CALL), (stream, STREAM)], ids=["call", "stream"])


async def asked(recorder: Late, way: Way, times: int = 1) -> None:
    """Ask several times; the SDK is set up when the first answer is on its way."""
    unset = [recorder.set]

    async def frames() -> AsyncIterator[bytes]:
        if unset:
            unset.pop()()
        for frame in FRAMES:
            yield frame

    async def answer(request: httpx.Request) -> httpx.Response:
        if b'"stream":true' in request.content.replace(b" ", b""):
            return httpx.Response(200, content=frames())
        if unset:
            unset.pop()()
        return completed()

    ai = await connected(answer)
    for _ in range(times):
        await way(ai)


@pytest.mark.usefixtures("unheard")
@ways
async def test_what_nobody_heard_the_beginning_of_is_told_to_nobody(late: Late, way: Way, spans: list[str]) -> None:
    await asked(late, way)
    assert late.names() == []
    assert late.metric_names() == [HEALTH]


@pytest.mark.usefixtures("unheard")
@ways
async def test_what_follows_is_recorded_in_full(late: Late, way: Way, spans: list[str]) -> None:
    await asked(late, way, times=2)
    assert late.names() == spans
    assert late.points("ai_lib.requests") == [(LABELS, 1)]
    assert late.points("ai_lib.requests.in_flight") == [(LABELS, 0)]


@ways
async def test_what_was_not_counted_at_its_beginning_is_not_taken_away_at_its_end(
    late: Late, way: Way, spans: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It was begun for those who read its log record."""
    caplog.set_level("INFO", logger="ai_lib.request")
    await asked(late, way)
    assert late.points("ai_lib.requests") == [(LABELS, 1)]
    assert late.points("ai_lib.requests.in_flight") == []


@pytest.mark.parametrize(
    ("names", "spans", "requests"),
    [
        (["tracer_provider"], CALL, []),
        (["meter_provider"], [], [(LABELS, 1)]),
        (["tracer_provider", "meter_provider"], CALL, [(LABELS, 1)]),
    ],
    ids=["tracers", "meters", "both"],
)
async def test_what_stands_for_the_global_providers_may_be_given(
    names: list[str], spans: list[str], requests: list[Any]
) -> None:
    recorder = Late(*names, **NOBODY)
    with instrumentation(recorder):
        await asked(recorder, call, times=2)
    assert recorder.names() == spans
    assert recorder.points("ai_lib.requests") == requests
