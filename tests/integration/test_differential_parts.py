"""Parts that users write, generated streams: what an application observes is the same without and with us."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import wrapt
from ai_lib_python import AiClient
from ai_lib_python.pipeline.base import Decoder, EventMapper, Pipeline, Transform
from ai_lib_python.types.events import StreamingEvent

from differential import Run, both, operations
from opentelemetry_instrumentation_ailib import ROWS
from provider import body, completion, delta, events
from recorder import Recorder

TEXT = events(delta("Hel"), delta("lo"), delta(finish="stop"))


class Lines(Decoder):
    """A decoder of the user's own, with a state of its own."""

    def __init__(self) -> None:
        self.lines = 0

    async def decode(self, byte_stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for chunk in byte_stream:
            for line in chunk.splitlines():
                self.lines += 1
                yield {"line": line.decode(), "typed": isinstance(byte_stream, AsyncIterator)}


class Faulty(Decoder):
    """A decoder that raises after its first frame."""

    async def decode(self, byte_stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for _ in byte_stream:
            yield {"choices": [{"delta": {"content": "Hel"}}]}
            raise ZeroDivisionError("decoder")


class NotAnIterator(Decoder):
    """A mistake: a coroutine function without a yield."""

    async def decode(self, byte_stream: AsyncIterator[bytes]) -> Any:  # type: ignore[override]
        return []


class Impatient(Transform):
    """Takes two frames and closes its source."""

    async def transform(self, frames: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async with contextlib.aclosing(frames):  # type: ignore[type-var]
            yield await anext(frames)
            yield {**await frames.__anext__(), "closed": True}


class Nothing(Transform):
    """A mistake: no iterator at all."""

    def transform(self, frames: AsyncIterator[Any]) -> Any:
        return None


class Faithless(EventMapper):
    """Raises at the second frame."""

    async def map_events(self, frames: AsyncIterator[Any]) -> AsyncIterator[StreamingEvent]:
        async for _ in frames:
            yield StreamingEvent.content_delta("one")
            raise KeyError("mapper")


class Peculiar(EventMapper):
    """Makes events that are none of the runtime's."""

    def __init__(self, *made: Any) -> None:
        self.made = made

    async def map_events(self, frames: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for _ in frames:
            for event in self.made:
                yield event


class Moody:
    @property
    def event_type(self) -> str:
        raise LookupError


class Shouting(Pipeline):
    async def process(self, byte_stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        self.processed = 0
        async for event in super().process(byte_stream):
            self.processed += 1
            yield event.as_content_delta.content.upper() if event.is_content_delta else event


class OldSchool(Pipeline):
    async def process(self, byte_stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for event in Pipeline.process(self, byte_stream):
            yield event


class Objects(Pipeline):
    """A pipeline that hands objects to its decoder, as a library for server-sent events makes them."""

    async def process(self, byte_stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async def objects() -> AsyncIterator[Any]:
            async for chunk in byte_stream:
                yield SimpleNamespace(text=chunk.decode())

        async for event in super().process(objects()):
            yield event


class Unwrapping(Decoder):
    async def decode(self, byte_stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in byte_stream:
            yield {"choices": [{"delta": {"content": item.text}}]}


def part(**parts: Any) -> Callable[[Any], None]:
    """Replace attributes of the client's pipeline."""

    def install(ai: Any) -> None:
        vars(ai._pipeline).update({f"_{name}": value() for name, value in parts.items()})

    return install


def pipeline(kind: type[Pipeline], decoder: type[Decoder] | None = None) -> Callable[[Any], None]:
    """Replace the client's pipeline by one of another class."""

    def install(ai: Any) -> None:
        ai._pipeline = kind(decoder() if decoder else ai._pipeline._decoder, [], ai._pipeline._event_mapper)

    return install


PARTS: dict[str, Callable[[Any], None]] = {
    "decoder": part(decoder=Lines, event_mapper=lambda: None),
    "decoder that raises": part(decoder=Faulty),
    "decoder that is a coroutine": part(decoder=NotAnIterator),
    "transform": part(transforms=lambda: [Impatient()]),
    "transform that is no iterator": part(transforms=lambda: [Nothing()]),
    "mapper that raises": part(event_mapper=Faithless),
    "events of other types": part(event_mapper=lambda: Peculiar(None, "text", 7, *map(_typed, ("Novelty", [], None)))),
    "events that fail": part(event_mapper=lambda: Peculiar(Moody())),
    "events without data": part(event_mapper=lambda: Peculiar(*map(_typed, ("Metadata", "StreamEnd", "StreamError")))),
    "pipeline": pipeline(Shouting),
    "pipeline by name": pipeline(OldSchool),
    "pipeline of objects": pipeline(Objects, Unwrapping),
}


def _typed(event_type: Any) -> Any:
    return SimpleNamespace(event_type=event_type)


@pytest.mark.parametrize("install", PARTS.values(), ids=PARTS)
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
async def test_a_pipelines_parts_work_as_before(recorder: Recorder, install: Callable[[Any], None]) -> None:
    async def scenario(run: Run) -> None:
        ai = await run.client()
        install(ai)
        seen = run.keep([])
        async for event in ai.chat().user("Hello?").stream():
            seen.append(event)

    seen = await both(recorder, scenario, TEXT)
    assert seen.differences() == []
    assert len(operations(recorder)) == 1


class Cautious(AiClient):
    """A client that changes requests and answers on their way, and notes what passes."""

    async def _execute_chat(self, builder: Any) -> Any:
        self.builders = [builder.system("Be careful")]
        response = await super()._execute_chat(builder)
        response.content += "!"
        return response

    async def _execute_stream(self, builder: Any) -> AsyncIterator[Any]:
        self.builders = [type(builder), builder]
        events = super()._execute_stream(builder)
        yield await events.__anext__()
        await events.aclose()
        self.rest = [event async for event in events]


class Rewriting(AiClient):
    """A client that sends another request than it got."""

    async def _execute_chat(self, builder: Any) -> Any:
        return await super()._execute_chat(self.chat().user("Something else"))


@pytest.mark.parametrize("kind", [Cautious, Rewriting])
@pytest.mark.parametrize("call", ["execute", "execute_with_stats"])
async def test_a_clients_subclass_works_as_before(recorder: Recorder, call: str, kind: type[AiClient]) -> None:
    async def scenario(run: Run) -> Any:
        ai = run.keep(await kind.create("openai/gpt-4o", base_url=run.base_url))
        return await getattr(ai.chat().user("Hello?"), call)()

    seen = await both(recorder, scenario, body(completion()))
    assert seen.differences() == []
    assert len(operations(recorder)) == 1


@pytest.mark.parametrize("with_stats", [False, True])
async def test_a_clients_subclass_streams_as_before(recorder: Recorder, with_stats: bool) -> None:
    async def scenario(run: Run) -> Any:
        ai = run.keep(await Cautious.create("openai/gpt-4o", base_url=run.base_url))
        request = ai.chat().user("Hello?")
        stream = (await request.stream_with_stats())[0] if with_stats else request.stream()
        return [[event async for event in stream], ai.builders[1] is request]

    seen = await both(recorder, scenario, TEXT)
    assert seen.differences() == []
    assert len(operations(recorder)) == 1


async def test_the_wrappers_of_others_still_run(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another library patched the same methods before us, by the same means."""
    called: list[str] = []

    def note(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        called.append(wrapped.__qualname__)
        return wrapped(*args, **kwargs)

    for row in ROWS:
        owner, name, original = row.resolve()
        monkeypatch.setattr(owner, name, wrapt.FunctionWrapper(original, note))

    async def scenario(run: Run) -> Any:
        called.clear()
        ai = await run.client()
        await ai.chat().user("Hello?").execute_with_stats()
        return [[event async for event in (await ai.chat().stream_with_stats())[0]], list(called)]

    seen = await both(recorder, scenario, body(completion()), TEXT)
    assert seen.differences() == []
    assert "'Pipeline.process'" in seen.without["result"][2]
