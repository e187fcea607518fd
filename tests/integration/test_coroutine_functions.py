"""The runtime's coroutine functions: how they refuse arguments, and what Python says of those that nobody awaits."""

from __future__ import annotations

import gc
import inspect
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from ai_lib_python import AiClient
from ai_lib_python.batch import BatchExecutor
from ai_lib_python.protocol import ProtocolLoader
from ai_lib_python.resilience import CircuitBreaker

from components import limiter, succeed
from differential import instrumentation
from recorder import Recorder


class Method(NamedTuple):
    """A coroutine function of the runtime's.

    Attributes:
        bind: Returns it, bound to an instance.
        args: Arguments that fit.
        wrong: Arguments that do not.
    """

    bind: Callable[[], Callable[..., Any]]
    args: tuple[Any, ...]
    wrong: tuple[Any, ...]


async def repeat(item: Any) -> Any:
    """Do something for an item of a batch."""
    return item


METHODS = {
    "BatchExecutor.execute": Method(lambda: BatchExecutor(repeat).execute, ([],), ()),
    "EmbeddingClient._execute": Method(lambda: embedder()._execute, (None,), ()),
    "RateLimiter.acquire": Method(lambda: limiter().acquire, (), (1, 2, 3)),
    "CircuitBreaker.execute": Method(lambda: CircuitBreaker().execute, (succeed,), ()),
    "ProtocolLoader.load_model": Method(lambda: ProtocolLoader().load_model, ("openai/m",), ()),
    "ProtocolLoader.load_provider": Method(lambda: ProtocolLoader().load_provider, ("openai",), (1, 2, 3)),
    "AiClientBuilder.build": Method(lambda: AiClient.builder().build, (), (1,)),
    "ChatRequestBuilder.execute": Method(lambda: chat().execute, (), (1,)),
    "ChatRequestBuilder.execute_with_stats": Method(lambda: chat().execute_with_stats, (), (1,)),
}
each_method = pytest.mark.parametrize("name", METHODS)


def chat() -> Any:
    """Return a request of no client."""
    from ai_lib_python.client.builder import ChatRequestBuilder

    return ChatRequestBuilder(None)  # type: ignore[arg-type]


def embedder() -> Any:
    """Return a client without anything."""
    from ai_lib_python.embeddings.client import EmbeddingClient

    return EmbeddingClient(None, None, "m")  # type: ignore[arg-type]


def refused(method: Method) -> list[str]:
    """Return how it refuses arguments when it is called."""
    with pytest.raises(TypeError) as raised:
        method.bind()(*method.wrong)
    return [repr(raised.value), repr(raised.value.__cause__), repr(raised.value.__context__)]


def unawaited(method: Method) -> list[Any]:
    """Return the names of its coroutine, and what Python warns of when nobody awaits it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        coroutine = method.bind()(*method.args)
        names = [inspect.iscoroutine(coroutine), coroutine.__name__, coroutine.__qualname__]
        del coroutine
        gc.collect()
    return [*names, *(str(warning.message) for warning in caught)]


@each_method
def test_arguments_that_do_not_fit_are_refused_when_the_call_is_made(name: str, recorder: Recorder) -> None:
    without = refused(METHODS[name])
    with instrumentation(recorder):
        assert refused(METHODS[name]) == without
    assert recorder.names() == []


@each_method
def test_of_one_that_is_never_awaited_python_warns_by_its_name(name: str, recorder: Recorder) -> None:
    without = unawaited(METHODS[name])
    with instrumentation(recorder):
        assert unawaited(METHODS[name]) == without
    assert without[1:] == [name.partition(".")[2], without[2], f"coroutine '{without[2]}' was never awaited"]
    assert recorder.names() == []
