"""Providers that break off after any byte of their answer: the same result as without us, and the right outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from unmoved import LABELS, asked, connected

from conftest import client
from differential import Both, instrumentation, operations
from provider import chunk, provider
from recorder import Recorder

JSON = b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 12}}'
SSE = b"".join(
    b'data: {"choices": [{%s}]}\n\n' % choice
    for choice in (b'"delta": {"content": "Hel"}', b'"delta": {"content": "lo"}', b'"finish_reason": "stop"')
)
BODIES = {"execute": JSON, "stream": SSE + b"data: [DONE]\n\n"}
HEAD = b"HTTP/1.1 200 OK\r\n"
# As they go over a socket: what is cut may be the headers, or between two chunks.
ANSWERS = {
    "execute": HEAD + b"Content-Length: %d\r\n\r\n" % len(JSON) + JSON,
    "stream": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(SSE[:60]) + chunk(SSE[60:]) + b"0\r\n\r\n",
}

each_way = pytest.mark.parametrize("way", BODIES)


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


async def in_process(way: str, *, breaks: bool) -> list[dict[str, Any]]:
    """Ask once for each byte of the body, and describe what the application gets."""
    body = BODIES[way]
    cuts = iter([Cut(body[:sent], breaks=breaks) for sent in range(len(body) + 1)])
    ai = await connected(lambda _: httpx.Response(200, stream=next(cuts)))
    seen = [await asked(ai, way) for _ in range(len(body) + 1)]
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
    if any("'stop'" in str(event) for event in events):
        return "completed"
    return "truncated" if events else "empty"


def assert_right(recorder: Recorder, way: str, without: list[dict[str, Any]]) -> None:
    """Assert that every call has its spans, and the error type and the outcome that it deserves."""
    calls = operations(recorder)
    assert len(calls) == len(without)
    assert [value for _, value in recorder.points("ai_lib.requests")] == [len(without)]
    assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
    failed = [failure(seen) is not None for seen in without]
    assert ["error.type" in (call.attributes or {}) for call in calls] == failed
    assert sum(value for _, value in recorder.points("ai_lib.errors")) == sum(failed)
    if way == "stream":
        given = [str((call.attributes or {})["ai_lib.stream.outcome"]) for call in calls]
        nothing_came = [(call.attributes or {})["ai_lib.stream.bytes"] == 0 for call in calls]
        deserved = [outcome(seen) for seen in without]
        assert given == [
            "truncated" if what == "empty" and nothing else what
            for what, nothing in zip(deserved, nothing_came, strict=True)
        ]


@each_way
@pytest.mark.parametrize("breaks", [False, True], ids=["ends", "breaks"])
async def test_after_any_byte_of_the_body(way: str, breaks: bool, recorder: Recorder) -> None:
    without = await in_process(way, breaks=breaks)
    with instrumentation(recorder):
        seen = await in_process(way, breaks=breaks)
    assert Both({"all": without}, {"all": seen}).differences() == []
    assert_right(recorder, way, without)
    if way == "stream":
        ends = {"error", "completed"} if breaks else {"empty", "truncated", "completed"}
        assert {outcome(each) for each in without} == ends


@each_way
async def test_after_bytes_that_go_over_a_socket(way: str, recorder: Recorder) -> None:
    answer = ANSWERS[way]
    # The last step, of nothing, has the connection closed.
    scripts = [[answer[:sent], b""] for sent in range(0, len(answer) + 1, 7)]

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
    assert_right(recorder, way, without)
