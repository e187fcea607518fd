"""The providers of the soak: inside the process, answering at once what the message of a request asks them to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import httpx
from ai_lib_python.transport import HttpTransport

from provider import completion, delta

IN_PROCESS: Final = "http://in.process/v1"
"""The base URL of the providers that are inside the process."""

USAGE: Final = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
_JSON: Final = {"content-type": "application/json"}


def _frame(content: Any) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


_CHUNK: Final = _frame(delta(" token"))
_FINISH: Final = _frame(delta(finish="stop"))
_USAGE: Final = _frame({"choices": [], "usage": USAGE})
_ERROR: Final = _frame({"error": {"message": "The model fell over.", "type": "server_error"}})
_DONE: Final = b"data: [DONE]\n\n"
_WIDE: Final = "data: {}\n\n".format(json.dumps(delta(" 字"), ensure_ascii=False)).encode()
_TORN: Final = _WIDE[: _WIDE.index("字".encode()) + 1]
_ODD: Final = 101
"""So many bytes a piece has: they end in the midst of lines, of names, of characters."""


def _pieces(content: bytes) -> Iterator[bytes]:
    return (content[start : start + _ODD] for start in range(0, len(content), _ODD))


class _Body(httpx.AsyncByteStream):
    """A body of so many chunks, and what ends it.

    Args:
        chunks: How many chunks of content.
        tail: What follows.
        hangs: Whether it never ends by itself.
        breaks: Whether the connection breaks in the end.
    """

    def __init__(self, chunks: int, *tail: bytes, hangs: bool = False, breaks: bool = False) -> None:
        self._chunks = chunks
        self._tail = tail
        self._hangs = hangs
        self._breaks = breaks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._chunks):
            yield _CHUNK
        for each in self._tail:
            yield each
        if self._hangs:
            await asyncio.sleep(3600)
        if self._breaks:
            raise httpx.ReadError("broken")


_STREAMS: Final[dict[str, Callable[[int], _Body]]] = {
    "whole": lambda chunks: _Body(chunks, _FINISH, _USAGE, _DONE),
    "pieces": lambda chunks: _Body(0, *_pieces(_WIDE * chunks + _FINISH + _USAGE + _DONE)),
    "cut": _Body,
    "torn": lambda chunks: _Body(0, *_pieces(_WIDE * chunks + _TORN)),
    "hang": lambda chunks: _Body(chunks, hangs=True),
    "break": lambda chunks: _Body(chunks, breaks=True),
    "error": lambda chunks: _Body(chunks, _ERROR, _FINISH, _DONE),
}


def _stream(kind: str, chunks: str) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_STREAMS[kind](int(chunks)))


def _json(content: Any) -> httpx.Response:
    return httpx.Response(200, headers=_JSON, content=json.dumps(content).encode())


def _status(code: str) -> httpx.Response:
    return httpx.Response(int(code), headers=_JSON, json={"error": {"message": "No."}})


def _time_out() -> httpx.Response:
    raise httpx.ReadTimeout("too slow")


def _refuse() -> httpx.Response:
    raise httpx.ConnectError("nobody there")


_ANSWERS: Final[dict[str, Callable[..., httpx.Response]]] = {
    "ok": lambda: _json(completion(usage=USAGE)),
    "html": lambda: httpx.Response(200, content=b"<html>"),
    "list": lambda: _json([]),
    "torn": lambda: httpx.Response(200, headers=_JSON, content=_json(completion(usage=USAGE)).content[:-7]),
    "status": _status,
    "timeout": _time_out,
    "refused": _refuse,
    "stream": _stream,
    "vectors": lambda count: _json(
        {
            "data": [{"index": index, "embedding": [0.5, 0.25]} for index in range(int(count))],
            "model": "embed-3",
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        }
    ),
    "ranks": lambda: _json({"results": [{"index": 0, "relevance_score": 0.5}]}),
}


class Upstream:
    """Answers a request with the first answer of its script that the call has not had yet.

    A script is ``<number of the call> <answer>,<answer>...``, an answer a name of ``_ANSWERS`` and its arguments with
    colons between: ``17 status:429,ok``. It is in the last message of a chat, and in whatever else other requests say.
    """

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, or never."""
        number, _, script = _script(json.loads(request.content)).partition(" ")
        answers = script.split(",")
        position = self._positions.pop(number, 0)
        if position + 1 < len(answers):
            self._positions[number] = position + 1
        name, *arguments = answers[position].split(":")
        if name == "hang":
            await asyncio.sleep(3600)
        return _ANSWERS[name](*arguments)

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Let every client reach this, whose base URL says so; the clients of fallback models, too."""
        original = HttpTransport._get_client

        def get_client(transport: HttpTransport) -> httpx.AsyncClient:
            if transport._client is None and transport._base_url == IN_PROCESS:
                handler = httpx.MockTransport(self.answer)
                transport._client = httpx.AsyncClient(transport=handler, base_url=IN_PROCESS)
            return original(transport)

        HttpTransport._get_client = get_client  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            HttpTransport._get_client = original  # type: ignore[method-assign]

    def forget(self) -> int:
        """Return how many scripts were not played to their end, and forget them."""
        left = len(self._positions)
        self._positions.clear()
        return left


def _script(body: Any) -> str:
    if "messages" in body:
        return str(body["messages"][-1]["content"])
    asked = body.get("query") or body["input"]
    return str(asked if isinstance(asked, str) else asked[0])
