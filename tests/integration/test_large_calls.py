"""However large what is said in a call is, to tell of it takes little memory: real calls, without us and with."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from ai_lib_python.pipeline.decode import SSEDecoder

from conftest import client
from differential import BASE_URL, instrumentation, operations
from in_process import connected
from opentelemetry_instrumentation_ailib.loggers import TRACE
from provider import completion, delta
from recorder import Recorder

# 51 MB, of which each 17 bytes are the client's credential and a blank.
LARGE = "secret-of-openai " * 3_000_000 + "!"
# Nobody reads it but for its end.
BODY = b"x" * len(LARGE) + b"\n\ndata: [DONE]\n\n"
BOUND = 1 << 20

Ask = Callable[[Any, str], Awaitable[Any]]


class Answer(httpx.Response):
    """The answer to a call."""

    def __init__(self, body: Any) -> None:
        super().__init__(200)
        self._body = body

    def json(self, **_: Any) -> Any:
        return self._body


class Objects:
    """An HTTP client that takes and brings objects: to write and read them takes many times the memory that they do.

    Args:
        said: What is answered.
    """

    def __init__(self, said: str) -> None:
        self._said = said

    async def request(self, **_: Any) -> Answer:
        return Answer(completion(self._said))

    @contextlib.asynccontextmanager
    async def stream(self, **_: Any) -> AsyncIterator[Any]:
        async def chunks() -> AsyncIterator[bytes]:
            yield BODY

        answer: Any = Answer(None)
        answer.aiter_bytes = chunks
        yield answer

    async def aclose(self) -> None:
        """Has nothing to close."""


class Decoder(SSEDecoder):
    """A decoder whose frames are objects already.

    Args:
        said: What is answered.
        more: What a frame has besides.
    """

    def __init__(self, said: str, more: Any = None) -> None:
        super().__init__()
        self._frame = {**delta(said), "more": more}

    async def decode(self, body: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for _ in body:
            pass
        yield self._frame


async def talking(said: str) -> Any:
    """A client whose answers and frames are objects."""
    ai = await client(base_url=BASE_URL)
    ai._transport._client = Objects(said)
    ai._pipeline._decoder = Decoder(said)
    return ai


async def execute(ai: Any, prompt: str) -> None:
    await ai.chat().user(prompt).execute()


async def stream(ai: Any, prompt: str) -> None:
    async for _ in ai.chat().user(prompt).stream():
        pass


async def most(ask: Ask, prompt: str, ai: Any) -> int:
    """Say how many bytes a call takes at the most."""
    await ask(ai, "Hello?")  # What only the first takes.
    tracemalloc.start()
    try:
        await ask(ai, prompt)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        await ai.close()


@pytest.fixture(params=["NO_CONTENT", "SPAN_AND_EVENT"])
def captured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether content is captured."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", request.param)
    return bool(request.param != "NO_CONTENT")


def assert_told(recorder: Recorder, messages: str, *, captured: bool) -> None:
    """Assert that messages are told in part, without the credential, if they are to be told at all."""
    (_, call) = operations(recorder)
    said = str((call.attributes or {}).get(messages, ""))
    assert ("[characters left out: " in said, "***REDACTED***" in said) == (captured, captured)
    assert len(said) < 20_000
    assert "secret" not in said
    assert len(recorder.events()) == 2 * captured


@pytest.mark.parametrize(
    ("ask", "prompt", "said", "messages"),
    [
        (execute, LARGE, "Hello", "gen_ai.input.messages"),
        (execute, "Hello?", LARGE, "gen_ai.output.messages"),
        (stream, LARGE, "Hello", "gen_ai.input.messages"),
        (stream, "Hello?", LARGE, "gen_ai.output.messages"),
    ],
    ids=["a prompt", "an answer", "the prompt of a stream", "a frame"],
)
async def test_to_tell_of_what_is_said_takes_a_little_memory(
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
    captured: bool,
    ask: Ask,
    prompt: str,
    said: str,
    messages: str,
) -> None:
    caplog.set_level(TRACE, "ai_lib")
    without = await most(ask, prompt, await talking(said))
    with instrumentation(recorder):
        instrumented = await most(ask, prompt, await talking(said))
    assert without < BOUND  # Nothing that a copy of ours could be mistaken for.
    assert instrumented - without < BOUND
    assert_told(recorder, messages, captured=captured)


@pytest.mark.parametrize(
    "more",
    [
        list(range(200_000)),
        {str(index): index for index in range(100_000)},
        [{"token": "a", "bytes": [97]}] * 50_000,
    ],
    ids=["numbers", "members", "objects"],
)
async def test_to_tell_of_a_frame_of_many_items_takes_a_little_memory(
    recorder: Recorder, caplog: pytest.LogCaptureFixture, captured: bool, more: Any
) -> None:
    caplog.set_level(TRACE, "ai_lib")

    async def framed() -> Any:
        ai = await talking("Hello")
        ai._pipeline._decoder = Decoder("Hello", more)
        return ai

    without = await most(stream, "Hello?", await framed())
    with instrumentation(recorder):
        instrumented = await most(stream, "Hello?", await framed())
    assert instrumented - without < BOUND
    shown = [vars(record).get("ai_lib.frame.content", "") for record in caplog.records if record.name == "ai_lib.frame"]
    sizes = [vars(record)["ai_lib.frame.size"] for record in caplog.records if record.name == "ai_lib.frame"]
    assert [len(each) for each in shown] == [1024 * captured] * 2
    assert sizes == [len(json.dumps({**delta("Hello"), "more": more}))] * 2


async def test_a_prompt_that_is_sent_takes_no_more_memory_with_us(recorder: Recorder, captured: bool) -> None:
    async def posting() -> Any:
        return await connected(lambda _: httpx.Response(200, json=completion()))

    without = await most(execute, LARGE, await posting())
    with instrumentation(recorder):
        instrumented = await most(execute, LARGE, await posting())
    assert without > len(LARGE)
    assert instrumented - without < BOUND
    assert_told(recorder, "gen_ai.input.messages", captured=captured)
