"""Providers that break off after any byte of their answer: the same result as without us, and the right outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest
from ai_lib_python.pipeline.decode import JsonLinesDecoder
from unmoved import asked, connected

from conftest import client
from differential import MODEL, Both, instrumentation, operations
from provider import chunk, provider
from recorder import Recorder

OPENAI, ANTHROPIC, GEMINI = MODEL, "anthropic/claude", "gemini/gemini-2.5-flash"

JSON = b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 12}}'
FRAMES = [
    b'{"choices": [{%s}]}' % choice
    for choice in (b'"delta": {"content": "Hel"}', b'"delta": {"content": "lo"}', b'"finish_reason": "stop"')
]
SSE = b"".join(b"data: %s\n\n" % frame for frame in FRAMES)
DONE = b"data: [DONE]\n\n"
ANTHROPIC_JSON = (
    b'{"id": "m", "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", '
    b'"usage": {"input_tokens": 12, "output_tokens": 5}}'
)
ANTHROPIC_SSE = b"".join(
    b'event: %s\ndata: {"type": "%s"%s}\n\n' % (kind, kind, more)
    for kind, more in (
        (b"message_start", b', "message": {"id": "m", "usage": {"input_tokens": 12}}'),
        (b"content_block_delta", b', "delta": {"type": "text_delta", "text": "Hello"}'),
        (b"message_delta", b', "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}'),
        (b"message_stop", b""),
    )
)
GEMINI_JSON = b'{"candidates": [{"content": {"parts": [{"text": "Hi"}]}}], "usageMetadata": {"promptTokenCount": 12}}'


class Case(NamedTuple):
    """A call, and the body of its answer.

    Attributes:
        way: How it is made.
        body: The body.
        model: Who is asked.
        decoder: What decodes a stream, instead of what its manifest says.
    """

    way: str
    body: bytes
    model: str = OPENAI
    decoder: Any = None


CASES = {
    "execute": Case("execute", JSON),
    "stream": Case("stream", SSE + DONE),
    "execute, Anthropic": Case("execute", ANTHROPIC_JSON, ANTHROPIC),
    "stream, Anthropic": Case("stream", ANTHROPIC_SSE, ANTHROPIC),
    "execute, Gemini": Case("execute", GEMINI_JSON, GEMINI),
    "stream, lines": Case("stream", b"\n".join(FRAMES), decoder=JsonLinesDecoder()),
}
HEAD = b"HTTP/1.1 200 OK\r\n"
# As they go over a socket: what is cut may be the headers, or between two chunks.
ANSWERS = {
    "execute": HEAD + b"Content-Length: %d\r\n\r\n" % len(JSON) + JSON,
    "stream": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(SSE[:60]) + chunk(SSE[60:]) + b"0\r\n\r\n",
}


class Cut(httpx.AsyncByteStream):
    """The beginning of a body, which ends there or breaks there.

    Args:
        content: The beginning.
        breaks: Whether the connection breaks.
    """

    def __init__(self, content: bytes, *, breaks: bool) -> None:
        self._content = content
        self._breaks = breaks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._content:
            yield self._content
        if self._breaks:
            raise httpx.ReadError("broken")


async def in_process(case: Case, *, breaks: bool) -> list[dict[str, Any]]:
    """Ask once for each byte of the body, and describe what the application gets."""
    cuts = iter([Cut(case.body[:sent], breaks=breaks) for sent in range(len(case.body) + 1)])
    ai = await connected(lambda _: httpx.Response(200, stream=next(cuts)), case.model)
    ai._pipeline._decoder = case.decoder or ai._pipeline._decoder
    seen = [await asked(ai, case.way) for _ in range(len(case.body) + 1)]
    await ai.close()
    return seen


def failure(seen: dict[str, Any]) -> str | None:
    """Return the class of the exception that the application got."""
    kind = seen["result"].get("kind") if isinstance(seen["result"], dict) else None
    return None if kind is None else str(kind)


def outcome(seen: dict[str, Any]) -> str:
    """Say how a stream ended, by what the application saw of it without us; ``empty`` needs a byte to have come."""
    events = seen["kept"][1][1:]
    if failure(seen) is not None:
        return "error"
    if any("'stop'" in str(event) or "'end_turn'" in str(event) for event in events):
        return "completed"
    return "truncated" if events else "empty"


def assert_right(recorder: Recorder, case: Case, without: list[dict[str, Any]]) -> None:
    """Assert that every call has its spans, and the error type and the outcome that it deserves."""
    calls = operations(recorder)
    assert len(calls) == len(without)
    assert [value for _, value in recorder.points("ai_lib.requests")] == [len(without)]
    provider_id, _, model = case.model.partition("/")
    labels = {"provider": provider_id, "model": model, "operation": "chat"}
    assert recorder.points("ai_lib.requests.in_flight") == [(labels, 0)]
    failed = [failure(seen) is not None for seen in without]
    assert ["error.type" in (call.attributes or {}) for call in calls] == failed
    assert sum(value for _, value in recorder.points("ai_lib.errors")) == sum(failed)
    if case.way == "stream":
        given = [str((call.attributes or {})["ai_lib.stream.outcome"]) for call in calls]
        nothing_came = [(call.attributes or {})["ai_lib.stream.bytes"] == 0 for call in calls]
        deserved = [outcome(seen) for seen in without]
        assert given == [
            "truncated" if what == "empty" and nothing else what
            for what, nothing in zip(deserved, nothing_came, strict=True)
        ]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("breaks", [False, True], ids=["ends", "breaks"])
async def test_after_any_byte_of_the_body(case: Case, breaks: bool, recorder: Recorder) -> None:
    without = await in_process(case, breaks=breaks)
    with instrumentation(recorder):
        seen = await in_process(case, breaks=breaks)
    assert Both({"all": without}, {"all": seen}).differences() == []
    assert_right(recorder, case, without)
    if case.way == "stream":
        # Nothing behind a done signal is read. Other bodies have to be read to their end, and break there.
        broken = {"error", "completed"} if DONE in case.body else {"error"}
        assert {outcome(each) for each in without} == (broken if breaks else {"empty", "truncated", "completed"})


@pytest.mark.parametrize("way", ANSWERS)
async def test_after_any_byte_that_goes_over_a_socket(way: str, recorder: Recorder) -> None:
    answer = ANSWERS[way]
    # The last step, of nothing, has the connection closed.
    scripts = [[answer[:sent], b""] for sent in range(len(answer) + 1)]

    async def ask_for_all(base_url: str) -> list[dict[str, Any]]:
        ai = await client(base_url=base_url)
        seen = [await asked(ai, way) for _ in scripts]
        await ai.close()
        return seen

    async with provider(*scripts, *scripts) as server:
        without = await ask_for_all(server.base_url)
        with instrumentation(recorder):
            seen = await ask_for_all(server.base_url)
    assert Both({"all": without}, {"all": seen}).differences() == []
    assert_right(recorder, CASES[way], without)
