"""``gen_ai.conversation.id``: from whoever says so, and from nowhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry import baggage, context
from opentelemetry.util.genai.handler import TelemetryHandler

from conftest import client
from differential import encoded
from opentelemetry_instrumentation_ailib.conversation import conversation_id
from provider import completion
from recorder import Recorder

KEY = "gen_ai.conversation.id"
URL = "https://api.openai.example/v1"
FRAMES = b'data: {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


@contextlib.contextmanager
def said(value: object, name: str = KEY) -> Iterator[None]:
    """Say it in the baggage."""
    token = context.attach(baggage.set_baggage(name, value))
    try:
        yield
    finally:
        context.detach(token)


@pytest.fixture
def handler(recorder: Recorder) -> TelemetryHandler:
    """What instrumented agents tell of themselves through."""
    return TelemetryHandler(**recorder.providers)


async def chat(*, stream: bool = False) -> None:
    ai = await client(base_url=URL)
    reply = httpx.Response(200, content=FRAMES) if stream else httpx.Response(200, json=completion())
    ai._transport._client = httpx.AsyncClient(base_url=URL, transport=httpx.MockTransport(lambda _: reply))
    if stream:
        assert [event async for event in ai.chat().user("Hello?").stream()]
    else:
        await ai.chat().user("Hello?").execute()
    await ai.close()


def recorded(recorder: Recorder) -> Any:
    """Return what the operation's span says, which is all that says it."""
    for span in recorder.spans():
        if span.name.startswith("ai_lib."):
            assert KEY not in (span.attributes or {})
    for name in recorder.metric_names():
        assert [labels for labels, _ in recorder.points(name) if KEY in labels] == []
    return (recorder.span("chat gpt-4o").attributes or {}).get(KEY)


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
async def test_an_application_says_it_in_the_baggage(instrumented: Recorder, stream: bool) -> None:
    with said("conv-1"):
        await chat(stream=stream)
    assert recorded(instrumented) == "conv-1"


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
async def test_where_nobody_says_it_there_is_none(instrumented: Recorder, stream: bool) -> None:
    with said("conv-1", "conversation"):
        await chat(stream=stream)
    assert recorded(instrumented) is None


Around = Callable[[TelemetryHandler], Any]
AROUND: dict[str, Around] = {
    "inference": lambda handler: handler.inference("openai", request_model="m", conversation_id="conv-2"),
    "agent": lambda handler: handler.invoke_local_agent(conversation_id="conv-2"),
    "workflow": lambda handler: handler.workflow("trip", conversation_id="conv-2"),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
async def test_an_instrumented_caller_says_it(
    instrumented: Recorder, handler: TelemetryHandler, around: Around, stream: bool
) -> None:
    with around(handler):
        await chat(stream=stream)
    assert recorded(instrumented) == "conv-2"


async def test_the_innermost_caller_is_right_and_the_baggage_the_last_resort(
    instrumented: Recorder, handler: TelemetryHandler
) -> None:
    with said("conv-1"), handler.workflow("trip", conversation_id="conv-2"):
        with handler.invoke_local_agent(conversation_id="conv-3"):
            assert conversation_id() == "conv-3"
        with handler.invoke_local_agent():
            await chat()
    assert recorded(instrumented) == "conv-2"


async def test_a_caller_that_knows_none_leaves_the_baggage_its_word(
    instrumented: Recorder, handler: TelemetryHandler
) -> None:
    with said("conv-1"), handler.invoke_local_agent():
        await chat()
    assert recorded(instrumented) == "conv-1"


@pytest.mark.parametrize(
    ("value", "known"),
    [("", None), (7, None), (None, None), (["conv"], None), ("x" * 1000, "x" * 256), ("\ud800", "?")],
    ids=["empty", "number", "none", "list", "long", "surrogate"],
)
async def test_what_the_baggage_says_is_bounded_text_or_nothing(
    instrumented: Recorder, value: object, known: str | None
) -> None:
    with said(value):
        await chat()
    assert recorded(instrumented) == known
    assert encoded(instrumented)


@pytest.mark.parametrize(("value", "known"), [("x" * 1000, "x" * 256), ("\ud800", "?")], ids=["long", "surrogate"])
async def test_what_a_caller_says_is_bounded_text(instrumented: Recorder, value: str, known: str) -> None:
    with TelemetryHandler(**Recorder().providers).workflow("trip", conversation_id=value):
        await chat()
    assert recorded(instrumented) == known
    assert encoded(instrumented)
