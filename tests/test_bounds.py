"""Prompts, answers and streams of any size cost no more memory, and no longer a look, than what leaves the process."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import ai_lib_python  # noqa: F401 - whose masker is used
import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util.genai.types import ReasoningPart, TextPart
from opentelemetry.util.genai.utils import gen_ai_json_dumps

from conftest import client
from opentelemetry_instrumentation_ailib import AiLibInstrumentor, masking
from opentelemetry_instrumentation_ailib.content import _structured
from opentelemetry_instrumentation_ailib.fitting import fitted
from opentelemetry_instrumentation_ailib.messages import Conversation, request_messages, response_messages
from opentelemetry_instrumentation_ailib.shortened import MAX_ITEMS
from provider import delta
from recorder import Recorder

MANY = 10_000
MILLION = 1_000_000
LONG = "x" * 20_000_000
TEXT = {"type": "text", "text": "Hello"}
CALL = {"id": "1", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f"}}


Conversion = Callable[[], Conversation]
"""What is done about a request or a response that has been made."""


def request(*messages: Any, tools: Any = None) -> Conversion:
    builder = SimpleNamespace(_messages=list(messages), _tools=tools, _extra_params={})

    def convert() -> Conversation:
        inputs, system, definitions = request_messages(builder)
        return fitted(Conversation(inputs, [], system, definitions), "a-secret")

    return convert


def response(**body: Any) -> Conversion:
    answer = SimpleNamespace(raw_response=body, content=None, tool_calls=[], finish_reason=None)
    return lambda: fitted(Conversation(outputs=response_messages(answer)), "a-secret")


def message(content: Any = None, role: str = "user", **more: Any) -> Any:
    return SimpleNamespace(role=role, content=content, **more)


def image(**source: Any) -> Any:
    return message([{"inline_data": source}])


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


CASES: dict[str, Callable[[], Conversion]] = {
    "a prompt": lambda: request(message(LONG)),
    "parts": lambda: request(message([TEXT] * MILLION)),
    "many messages of many parts": lambda: request(*[message([TEXT] * 1_000)] * 1_000),
    "messages": lambda: request(*[message("Hello")] * 200_000),
    "instructions": lambda: request(*[message("Hello", "system")] * 200_000),
    "instructions of many parts": lambda: request(*[message([TEXT] * 1_000, "system")] * 1_000),
    "tools": lambda: request(tools=[TOOL] * MILLION),
    "declarations": lambda: request(tools=[{"functionDeclarations": [TOOL["function"]] * 1_000}] * 1_000),
    "a tool": lambda: request(tools=[{"type": "function", "function": {"name": LONG, "description": LONG}}]),
    "calls": lambda: request(message(role="assistant", tool_calls=[CALL] * MILLION)),
    "arguments": lambda: request(message(role="assistant", tool_calls=[{"function": {"arguments": LONG}}])),
    "nested arguments": lambda: request(
        message(role="assistant", tool_calls=[{"function": {"arguments": nested(100_000)}}])
    ),
    "a result of parts": lambda: request(message([TEXT] * MILLION, "tool", tool_call_id="1")),
    "a nested result": lambda: request(message(nested(100_000), "tool", tool_call_id="1")),
    "thinking": lambda: request(message([{"type": "thinking", "thinking": [{"text": LONG}] * 1_000}])),
    "an image": lambda: request(image(data=LONG, mime_type="image/png")),
    "the type of an image": lambda: request(image(data="x", mime_type=LONG)),
    "the format of a sound": lambda: request(
        message([{"type": "input_audio", "input_audio": {"data": "x", "format": LONG}}])
    ),
    "the kind of a block": lambda: request(message([{"type": LONG}])),
    "a role": lambda: request(message("Hello", LONG)),
    "choices": lambda: response(choices=[{"message": {"content": "Hello"}, "finish_reason": "stop"}] * MILLION),
    "choices of many parts": lambda: response(choices=[{"message": {"content": [TEXT] * 1_000}}] * 1_000),
    "blocks of an answer": lambda: response(content=[TEXT] * MILLION),
    "a finish reason": lambda: response(choices=[{"message": {"content": "Hello"}, "finish_reason": LONG}]),
}


@pytest.fixture
def peak() -> Iterator[Callable[[], float]]:
    """Says how many MiB there were at the most since the last time."""
    tracemalloc.start()

    def mebibytes() -> float:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        return most / (1 << 20)

    yield mebibytes
    tracemalloc.stop()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_to_capture_content_takes_no_more_memory_than_its_bound(
    case: Callable[[], Conversion], peak: Callable[[], float]
) -> None:
    convert = case()
    before = tracemalloc.get_traced_memory()[0] / (1 << 20)
    peak()
    said = {key: gen_ai_json_dumps(items) for key, items in _structured(convert()).items()}
    assert peak() - before < 4.0
    assert 0 < sum(map(len, said.values())) < 90_000


class Watched(list[Any]):
    """A list that counts which of its items somebody looks at."""

    looked_at = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.looked_at += 1
            yield item

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.looked_at += len(found) if isinstance(key, slice) else 1
        return found


@pytest.mark.parametrize(
    ("item", "case"),
    [
        (TEXT, lambda watched: request(message(watched))),
        (TEXT, lambda watched: request(message(watched, "tool", tool_call_id="1"))),
        (CALL, lambda watched: request(message(role="assistant", tool_calls=watched))),
        (TOOL, lambda watched: request(tools=watched)),
        ({"message": {"content": "Hello"}}, lambda watched: response(choices=watched)),
    ],
    ids=["parts", "a result", "calls", "tools", "choices"],
)
def test_of_a_long_list_no_more_is_looked_at_than_may_fit(item: Any, case: Callable[[Watched], Conversion]) -> None:
    watched = Watched([item] * 100_000)
    case(watched)()
    assert 2_000 < watched.looked_at < 4 * MAX_ITEMS  # Twice, where a look at them all decides what they are.


def test_what_was_not_looked_at_counts_as_left_out() -> None:
    (kept,) = request(message([TEXT] * MILLION))().inputs
    assert kept.parts[-1] == TextPart(content=f"[{MILLION - len(kept.parts) + 1} more left out]")


def test_of_many_messages_the_newest_and_the_first_instructions_are_kept() -> None:
    said = [message("Be kind.", "system"), *(message(f"{number}") for number in range(MANY)), message("Now?")]
    kept = request(*said)()
    assert kept.system == [TextPart(content="Be kind.")]
    assert [kept.inputs[-1].parts, kept.inputs[-2].parts] == [[TextPart(content="Now?")], [TextPart(content="9999")]]
    assert kept.inputs[0].parts == [
        TextPart(content=f"[earlier messages left out: {MANY + 1 - (len(kept.inputs) - 1)}]")
    ]


def test_of_thinking_in_many_texts_the_beginning_is_kept_and_the_rest_counted() -> None:
    (kept,) = request(message([{"type": "thinking", "thinking": [{"text": "x" * 100}] * 1_000}]))().inputs
    (part,) = kept.parts
    assert isinstance(part, ReasoningPart)
    text, _, count = part.content.partition(" [characters left out: ")
    assert len(text) + int(count.removesuffix("]")) == 100_000


@pytest.mark.parametrize(
    "shorten",
    [
        masking.safe_message,
        lambda error: masking.safe_message(error, ["x" * 20]),
        lambda error: masking.masked(error.args[0], 512),
    ],
    ids=["plain", "of secrets", "masked"],
)
def test_a_message_of_any_length_costs_the_same(shorten: Callable[[Any], str], peak: Callable[[], float]) -> None:
    error = ValueError(LONG)
    shorten(error)
    peak()
    before = tracemalloc.get_traced_memory()[0] / (1 << 20)
    assert len(shorten(error)) <= 512
    assert peak() - before < 1.0


# --- streams ---

FRAMES = 30_000


class Body(httpx.AsyncByteStream):
    def __init__(self, frames: int) -> None:
        self.frames = frames

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunk = b"data: " + gen_ai_json_dumps(delta(" token")).encode() + b"\n\n"
        for _ in range(self.frames):
            yield chunk


@pytest.mark.parametrize("capture", ["NO_CONTENT", "SPAN_ONLY"])
async def test_a_stream_of_any_length_takes_the_same_memory(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capture: str
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", capture)
    AiLibInstrumentor().instrument(**{**recorder.providers, "tracer_provider": TracerProvider()})
    ai = await client(base_url="http://provider.example/v1")
    handler = httpx.MockTransport(lambda request: httpx.Response(200, stream=Body(FRAMES)))
    ai._transport._client = httpx.AsyncClient(transport=handler, base_url="http://provider.example/v1")
    blocks: dict[int, int] = {}
    seen = 0
    async for _ in ai.chat().user("Hello?").stream():
        seen += 1
        if seen in (FRAMES * 5 // 6, FRAMES - 1):  # By then what is kept of the content has reached its bound.
            blocks[seen] = sys.getallocatedblocks()
    await ai.close()
    AiLibInstrumentor().uninstrument()

    assert seen == FRAMES
    assert recorder.counts("ai_lib.stream.frames", "result") == {"mapped": FRAMES}
    early, late = blocks.values()
    assert late - early < 500
