"""A provider inside the process: request *n* gets the *n*-th answer, and the last one from then on."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import httpx
from bodies import BODIES, REFUSALS
from frames import DIALECTS, FAULTS, UNIT, WIRES, Chunks, streams
from hypothesis import strategies as st
from values import SECRET, mostly

from provider import Step, chunk

HOST = "provider.example"


@dataclass(frozen=True)
class Answer:
    """What a provider does about one request.

    Attributes:
        delay: Seconds before it does anything.
        refused: The name of the exception of httpx that comes instead of a response.
        body: The body, if the request is not for a stream.
        chunks: The body, if it is.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    refused: str | None = None
    body: Chunks = (b"{}",)
    chunks: Chunks = ()

    def steps(self, *, streamed: bool) -> list[Step]:
        """Return the same for a provider behind a socket, without the waits."""
        if self.refused is not None:
            return []
        lines = [f"HTTP/1.1 {self.status} X", "Transfer-Encoding: chunked", *map(": ".join, self.headers)]
        sent = self.chunks if streamed else self.body
        broken = any(isinstance(it, str) for it in sent)
        whole = [chunk(it) for it in sent if isinstance(it, bytes) and it]
        return ["\r\n".join([*lines, "", ""]).encode(), *whole, *([] if broken else [b"0\r\n\r\n"])]


_HEADERS = st.sampled_from(
    [
        *((), (), (), (("x-request-id", "req-1"),), (("request-id", SECRET),), (("retry-after", "1000"),)),
        *((("retry-after", "soon"),), (("retry-after", "nan"),), (("content-type", "text/html"),)),
    ]
)
_DELAYS = st.sampled_from([0.0, 0.0, UNIT])
_REFUSALS = st.sampled_from([400, 401, 404, 409, 413, 429, 429, 500, 500, 503, 529, 302])
_BREAKS = mostly(st.just(()), st.sampled_from(FAULTS).map(lambda fault: (fault,)))


@st.composite
def answers(draw: st.DrawFn, dialect: str, wire: str) -> Answer:
    """Draw an answer."""
    headers, delay = draw(_HEADERS), draw(_DELAYS)
    if draw(st.integers(0, 3)) == 0:
        body = (draw(REFUSALS), *draw(_BREAKS))
        refused = draw(mostly(st.none(), st.sampled_from(["ConnectError", "ConnectTimeout", *FAULTS])))
        return Answer(draw(_REFUSALS), headers, delay, refused, body, body)
    usual = draw(mostly(st.just((dialect, wire)), st.tuples(st.sampled_from(DIALECTS), st.sampled_from(WIRES))))
    body = (draw(BODIES), *draw(_BREAKS))
    return Answer(200, headers, delay, body=body, chunks=draw(streams(*usual)))


@dataclass
class Provider(httpx.AsyncBaseTransport):
    """The provider, in place of a network.

    Attributes:
        answers: What it does about each request.
        requests: The requests that arrived.
        waited: Seconds that requests waited for it, for streams and for whole answers.
        sent: Bytes of streams that arrived.
    """

    answers: Sequence[Answer]
    requests: list[Any] = field(default_factory=list)
    waited: Counter[str] = field(default_factory=Counter)
    sent: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        if request.url.host != HOST:
            raise httpx.ConnectError("There is no network.")
        streamed = request.headers["accept"] == "text/event-stream"
        self.requests.append((request.method, str(request.url), sorted(request.headers.multi_items()), content))
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        await self._wait(answer.delay, streamed)
        if answer.refused is not None:
            raise _fault(answer.refused)
        body = self._body(answer.chunks if streamed else answer.body, streamed, refused=answer.status >= 400)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(body))

    async def _body(self, chunks: Chunks, streamed: bool, refused: bool) -> AsyncIterator[bytes]:
        for step in chunks:
            if isinstance(step, bytes):
                self.sent += len(step) * (streamed and not refused)
                yield step
            elif isinstance(step, str):
                raise _fault(step)
            else:
                await self._wait(step, streamed)

    async def _wait(self, seconds: float, streamed: bool) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.waited["streams" if streamed else "calls"] += loop.time() - began  # type: ignore[assignment]

    @contextlib.contextmanager
    def instead_of_a_network(self) -> Iterator[None]:
        """Have every client of httpx that is made ask this provider, those that load manifests too."""
        with mock.patch.object(httpx.AsyncClient, "_init_transport", return_value=self):
            yield


class _Body(httpx.AsyncByteStream):
    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks


def _fault(name: str) -> Exception:
    fault: Exception = getattr(httpx, name)(f"{name} it is.")
    return fault
