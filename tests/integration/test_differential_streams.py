"""Consumers of streams, generated streams and bodies: what an application observes is the same without and with us."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from differential import Run, assert_books_balance, both, compare, operations
from provider import delta, events
from recorder import Recorder

Consumer = Callable[[Run, Any], Awaitable[Any]]


async def leave(run: Run, events: Any) -> None:
    async for _ in events:
        break


async def leave_and_close(run: Run, events: Any) -> None:
    await events.__anext__()
    await events.aclose()
    await events.aclose()


async def close_unread(run: Run, events: Any) -> None:
    await events.aclose()


async def fail_between_events(run: Run, events: Any) -> None:
    async for event in events:
        raise LookupError(event.event_type)


async def throw(run: Run, events: Any) -> None:
    await events.__anext__()
    await events.athrow(LookupError("thrown"))


async def read_on_after_the_end(run: Run, events: Any) -> list[Any]:
    first = [event async for event in events]
    return [first, [event async for event in events]]


async def read_twice_at_once(run: Run, events: Any) -> Any:
    return await asyncio.gather(events.__anext__(), events.__anext__(), return_exceptions=True)


async def be_cancelled(run: Run, events: Any) -> None:
    reading = asyncio.Event()

    async def read() -> None:
        async for _ in events:
            reading.set()

    task = asyncio.ensure_future(read())
    await reading.wait()
    await asyncio.sleep(0)
    task.cancel()
    await task


async def use_the_runtimes_cancellable_stream(run: Run, events: Any) -> list[Any]:
    from ai_lib_python.client.cancel import CancellableStream, CancelToken

    token, seen = CancelToken(), []
    cancellable = CancellableStream(events, token)
    async for event in cancellable:
        seen.append(event)
        token.cancel()
    await cancellable.close()
    return [seen, cancellable.started, cancellable.finished]


CONSUMERS = (
    leave,
    leave_and_close,
    close_unread,
    fail_between_events,
    throw,
    read_on_after_the_end,
    read_twice_at_once,
    be_cancelled,
    use_the_runtimes_cancellable_stream,
)


@pytest.mark.parametrize("consume", CONSUMERS)
@pytest.mark.parametrize("with_stats", [False, True])
async def test_consumers_of_streams(recorder: Recorder, consume: Consumer, with_stats: bool) -> None:
    async def scenario(run: Run) -> Any:
        request = run.keep((await run.client()).chat().user("Hello?"))
        iterator = run.keep(await request.stream_with_stats())[0] if with_stats else request.stream()
        return await consume(run, iterator)

    pause = [30.0] if consume is be_cancelled else []
    seen = await both(
        recorder, scenario, [*events(delta("Hel"), done=False, end=False), *pause, *events(delta("lo"))[1:]]
    )
    assert seen.differences() == []
    assert len(operations(recorder)) == (consume is not close_unread)


# --- generated ---

NAMES = [
    *("id", "model", "modelVersion", "responseId", "type", "error", "message", "usage", "usageMetadata", "index"),
    *("choices", "delta", "content", "finish_reason", "tool_calls", "function", "name", "arguments", "text", "parts"),
    *("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "cache_read_input_tokens", "candidates"),
]
WORDS = st.sampled_from(["", "stop", "text", "text_delta", "tool_use", "\ud800", "é" * 300])
SCALARS = st.none() | st.booleans() | st.integers(-1, 2**65) | st.floats() | WORDS
JUNK = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
)
TOOL = st.fixed_dictionaries({"index": st.integers(0, 1) | JUNK, "function": JUNK}, optional={"id": JUNK})
DELTA = st.fixed_dictionaries({}, optional={"content": JUNK, "tool_calls": st.lists(TOOL, max_size=2) | JUNK})
CHOICE = st.fixed_dictionaries({"delta": DELTA | JUNK}, optional={"finish_reason": JUNK, "message": DELTA | JUNK})
OPENAI = st.fixed_dictionaries({"choices": st.lists(CHOICE, max_size=2) | JUNK}, optional={"id": JUNK, "usage": JUNK})
ANTHROPIC = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["message_start", "content_block_start", "content_block_delta", "message_delta", "error"]
        )
    },
    optional=dict.fromkeys(("message", "delta", "content_block", "usage", "index"), JUNK),
)
GEMINI = st.fixed_dictionaries({"candidates": st.lists(JUNK, max_size=1)}, optional={"usageMetadata": JUNK})
FRAME = st.one_of(OPENAI, ANTHROPIC, GEMINI, JUNK).map(lambda frame: json.dumps(frame).encode())
EVENT = st.one_of(
    FRAME.map(lambda frame: b"data: %s\n\n" % frame),
    FRAME.map(lambda frame: b"event: x\r\ndata: %s\r\n\r\n" % frame),
    st.sampled_from([b"data: [DONE]\n\n", b": ping\n\n", b"data: {\n\n", b"\xff\xfe\n\n"]),
    st.binary(max_size=8),
)
PROVIDERS = st.sampled_from(["openai", "anthropic", "gemini", "selective", "mapless"])
OUTCOMES = ("completed", "abandoned", "cancelled", "error", "truncated", "empty")
BROKEN = httpx.ReadError("broken")


@st.composite
def chunked(draw: st.DrawFn) -> list[bytes | Exception]:
    """Draw events, cut anywhere, and perhaps a connection that breaks."""
    whole = b"".join(draw(st.lists(EVENT, max_size=6)))
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    chunks: list[bytes | Exception] = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return chunks + draw(st.sampled_from([[], [BROKEN]]))


class Chunks(httpx.AsyncByteStream):
    """A body in the chunks that a test chooses, in process.

    Args:
        chunks: The chunks; an exception among them is raised.
        cancel_at: The number of the chunk at which the reading task gets cancelled.
    """

    def __init__(self, chunks: Sequence[bytes | Exception], cancel_at: int | None) -> None:
        self._chunks = chunks
        self._cancel_at = cancel_at
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number, chunk in enumerate(self._chunks):
            task = asyncio.current_task()
            if number == self._cancel_at and task is not None:
                task.cancel()
            await asyncio.sleep(0)
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def aclose(self) -> None:
        self.closed = True


def quick(test: Any) -> Any:
    return settings(max_examples=40, deadline=None, database=None)(test)


@quick
@given(model=PROVIDERS, content=FRAME | st.binary(max_size=20), call=st.sampled_from(["execute", "execute_with_stats"]))
def test_generated_bodies(model: str, content: bytes, call: str) -> None:
    recorder = Recorder()
    compare(
        recorder, lambda run: httpx.Response(200, content=content), lambda run, it: getattr(it, call)(), f"{model}/m"
    )
    assert_books_balance(recorder)


@quick
@given(
    model=PROVIDERS,
    chunks=chunked(),
    leave_at=st.none() | st.integers(1, 3),
    how=st.sampled_from(["break", "aclose", "raise"]),
    cancel_at=st.none() | st.integers(0, 5),
    with_stats=st.booleans(),
)
def test_generated_streams(
    model: str, chunks: list[bytes | Exception], leave_at: int | None, how: str, cancel_at: int | None, with_stats: bool
) -> None:
    def respond(run: Run) -> httpx.Response:
        return httpx.Response(200, stream=run.keep(Chunks(chunks, cancel_at)))

    async def consume(run: Run, request: Any) -> None:
        stream = run.keep(await request.stream_with_stats())[0] if with_stats else request.stream()
        seen = run.keep([])
        async for event in stream:
            seen.append(event)
            if len(seen) == leave_at:
                if how == "break":
                    break
                if how == "aclose":
                    await stream.aclose()
                else:
                    raise LookupError

    recorder = Recorder()
    compare(recorder, respond, consume, f"{model}/m")
    assert assert_books_balance(recorder)["ai_lib.stream.outcome"] in OUTCOMES
