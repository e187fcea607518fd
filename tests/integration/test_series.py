"""However many names come from outside, there are so many series: models, providers, servers, answers, error types."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from enum import Enum
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from ai_lib_python import AiClient
from ai_lib_python.errors import ErrorClass, RemoteError
from ai_lib_python.pipeline import Pipeline
from ai_lib_python.protocol import ProtocolLoader
from ai_lib_python.protocol.manifest import ProtocolManifest
from ai_lib_python.resilience import CircuitBreakerConfig, ResilientConfig, ResilientExecutor, RetryConfig
from ai_lib_python.transport import HttpTransport

from components import tripped
from differential import operations
from opentelemetry_instrumentation_ailib import AiLibInstrumentor, cardinality
from provider import completion, delta
from recorder import Recorder
from resilient import own_components  # noqa: F401 - a fixture

LIMIT, MANY = 10, 25
OTHER = "_OTHER"


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch, recorder: Recorder) -> Any:
    """The runtime, instrumented, with limits that are soon reached, and what it exports."""
    for name in ("MAX_PROVIDERS", "MAX_MODELS", "MAX_ERROR_TYPES"):
        monkeypatch.setattr(cardinality, name, LIMIT)
    AiLibInstrumentor().instrument(**recorder.providers)
    yield recorder
    AiLibInstrumentor().uninstrument()


def client(model: str, host: str = "provider", answers_as: str = "gpt-4o-2024-08-06", status: int = 200) -> Any:
    """A client whose provider is inside the process."""
    url = f"http://{host}.example/v1"
    manifest = ProtocolManifest.model_validate({"id": model.partition("/")[0], "endpoint": {"base_url": url}})
    ai = AiClient(manifest, HttpTransport(manifest, api_key="none"), Pipeline.from_manifest(manifest), model)
    handler = httpx.MockTransport(lambda request: httpx.Response(status, json=completion(model=answers_as)))
    ai._transport._client = httpx.AsyncClient(transport=handler, base_url=url)
    return ai


async def chat(*clients: Any) -> None:
    for ai in clients:
        await ai.chat().user("Hello?").execute()
        await ai.close()


def series(recorder: Recorder, name: str) -> list[dict[str, Any]]:
    return [labels for labels, _ in recorder.points(name)]


async def test_models_past_the_limit_are_one_and_keep_every_other_label(limited: Recorder) -> None:
    await chat(*(client(f"openai/model-{number}") for number in (*range(MANY), 3)))

    requests = {labels["model"]: value for labels, value in limited.points("ai_lib.requests")}
    assert requests == {**dict.fromkeys((f"model-{number}" for number in range(LIMIT)), 1), "model-3": 2, OTHER: 15}
    assert limited.counts("ai_lib.requests", "provider") == {"openai": MANY + 1}
    assert limited.counts("ai_lib.requests.in_flight", "model") == dict.fromkeys(requests, 0)
    assert limited.counts("ai_lib.stage.duration", "stage") == dict.fromkeys(
        ("request.compile", "http.transport", "pipeline.process"), MANY + 1
    )
    for name in limited.metric_names():
        assert len(series(limited, name)) <= 3 * (LIMIT + 1), name


async def test_a_span_has_its_model_whatever_the_metrics_say(limited: Recorder, caplog: Any) -> None:
    caplog.set_level("INFO", "ai_lib.request")
    await chat(*(client(f"openai/model-{number}") for number in range(MANY)))

    last = limited.span(f"chat model-{MANY - 1}")
    assert (last.attributes or {})["gen_ai.request.model"] == f"model-{MANY - 1}"
    assert f"openai/model-{MANY - 1}" in caplog.records[-1].getMessage()


async def test_providers_past_the_limit_are_one(limited: Recorder) -> None:
    await chat(*(client(f"provider-{number}/m") for number in range(MANY)))
    known = [{"provider": f"provider-{number}", "model": "m", "operation": "chat"} for number in range(LIMIT)]
    assert series(limited, "ai_lib.requests") == [*known, {"provider": OTHER, "model": OTHER, "operation": "chat"}]


async def test_servers_past_the_limit_are_left_out_of_the_metrics_of_the_conventions(limited: Recorder) -> None:
    await chat(*(client("openai/m", host=f"host-{number}") for number in range(MANY)))

    hosts = [labels.get("server.address") for labels in series(limited, "gen_ai.client.operation.duration")]
    assert hosts == [*(f"host-{number}.example" for number in range(LIMIT)), None]
    assert series(limited, "gen_ai.client.operation.duration")[-1] == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": OTHER,
        "gen_ai.response.model": "gpt-4o-2024-08-06",
    }


async def test_a_provider_may_call_its_model_anything(limited: Recorder) -> None:
    await chat(*(client("openai/m", answers_as=f"build-{number}") for number in range(MANY)))

    for name in ("gen_ai.client.operation.duration", "gen_ai.client.token.usage"):
        answers = {labels["gen_ai.response.model"] for labels in series(limited, name)}
        assert answers == {*(f"build-{number}" for number in range(LIMIT)), OTHER}
    assert (limited.spans()[-1].attributes or {})["gen_ai.response.model"] == f"build-{MANY - 1}"


async def test_manifests_that_do_not_exist_take_no_room_from_those_that_do(limited: Recorder) -> None:
    loader = ProtocolLoader(fallback_to_github=False)
    for number in range(MANY):
        with pytest.raises(Exception, match="nowhere"):
            await loader.load_model(f"nowhere-{number}/m-{number}")
    await chat(client("openai/gpt-4o"))

    loads = [labels for labels in series(limited, "ai_lib.stage.duration") if labels["stage"] == "protocol.load"]
    assert len(loads) == LIMIT + 1
    assert loads[-1] == {"provider": OTHER, "model": OTHER, "stage": "protocol.load"}
    assert [labels["model"] for labels in series(limited, "ai_lib.requests")] == ["gpt-4o"]


async def test_turns_past_the_limit_are_one(limited: Recorder) -> None:
    for number in range(MANY):
        ai = client(f"openai/model-{number}", status=500)
        ai._fallbacks, ai._loader = [f"nowhere/{number}"], ProtocolLoader(fallback_to_github=False)
        with pytest.raises(Exception, match="nowhere"):
            await chat(ai)

    turns = series(limited, "ai_lib.fallbacks")
    assert len(turns) == LIMIT + 1
    assert turns[-1] == {"from": OTHER, "to": OTHER, "type": "server_error"}


async def test_executors_past_the_limit_are_one(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    own_components: None,  # noqa: F811 - the fixture
) -> None:
    monkeypatch.setattr("opentelemetry_instrumentation_ailib.live.MAX_EXECUTORS", LIMIT)
    AiLibInstrumentor().instrument(**recorder.providers)
    config = ResilientConfig(circuit_breaker=CircuitBreakerConfig(failure_threshold=1))
    executors = [ResilientExecutor(config, name=f"executor-{number}") for number in range(MANY)]
    for executor in executors:
        await tripped(executor)
    states = recorder.counts("ai_lib.circuit_breaker.state", "executor")
    AiLibInstrumentor().uninstrument()

    opened = recorder.counts("ai_lib.circuit_breaker.transitions", "executor")
    assert opened == {**{f"executor-{number}": 1 for number in range(LIMIT)}, OTHER: MANY - LIMIT}
    assert states.keys() == opened.keys()


# --- error types ---


class ExplainedError(Exception):
    """Says what is wrong where others say of what kind it is."""

    def __init__(self, number: int) -> None:
        super().__init__("no")
        self.error_class = SimpleNamespace(value=f"Request {number} was refused. " * 4_000)


def made(number: int) -> Exception:
    error: Exception = type(f"E{number}", (Exception,), {"__module__": "made"})("no")
    return error


def enumerated(number: int) -> Exception:
    enumeration: Any = Enum
    kind = enumeration("Refusal", {"POLICY": f"policy_{number}_{'x' * 100_000}"}).POLICY
    return RemoteError("no", status_code=400, error_class=kind, retryable=True)


MADE = [f"made.E{number}" for number in range(MANY)]
ENUMERATED = [f"policy_{number}_{'x' * 300}"[:256] for number in range(MANY)]


def counted(types: list[str], times: int = 1) -> dict[str, int]:
    """How often each type is counted: those past the limit as one."""
    return {**dict.fromkeys(types[:LIMIT], times), OTHER: times * len(types[LIMIT:])}


class Broken(httpx.AsyncByteStream):
    """The body of a stream that tells its usage, and fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for frame in (delta("Hello"), {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 5}}):
            yield b"data: %s\n\n" % json.dumps(frame).encode()
        raise self._error


def failing(errors: Iterable[Exception], *, late: bool = False) -> Any:
    """A client whose requests fail with these, one after the other; late ones in the bodies of their answers."""
    ai, coming = client("openai/gpt-4o"), iter(errors)

    def answer(_: httpx.Request) -> httpx.Response:
        if late:
            return httpx.Response(200, stream=Broken(next(coming)))
        raise next(coming)

    ai._transport._client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://provider.example")
    return ai


async def fail(ai: Any, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Exception, match="no"):
            await ai.chat().user("Hello?").execute()
    await ai.close()


def assert_counted(recorder: Recorder, expected: dict[str, int]) -> None:
    """Assert how often each type is counted where failed calls and exchanges are."""
    assert recorder.counts("ai_lib.errors", "type") == expected
    assert recorder.counts("ai_lib.attempts", "type") == expected
    assert recorder.counts("gen_ai.client.operation.duration", "error.type") == expected


def failures(recorder: Recorder, name: str) -> list[Any]:
    return [(span.attributes or {})["error.type"] for span in recorder.spans() if span.name == name]


@pytest.mark.parametrize(("make", "types"), [(made, MADE), (enumerated, ENUMERATED)], ids=["classes", "members"])
async def test_error_types_past_the_limit_are_one_but_on_spans(
    limited: Recorder, make: Callable[[int], Exception], types: list[str]
) -> None:
    known = RemoteError("no", status_code=429, error_class=ErrorClass.RATE_LIMITED)
    await fail(failing([*map(make, range(MANY)), known]), MANY + 1)

    assert_counted(limited, {**counted(types), "rate_limited": 1})
    for name in ("chat gpt-4o", "ai_lib.http.transport"):
        assert failures(limited, name) == [*types, "rate_limited"]


async def test_an_explanation_is_no_error_type(limited: Recorder) -> None:
    await fail(failing(map(ExplainedError, range(MANY))), MANY)

    assert_counted(limited, {f"{__name__}.ExplainedError": MANY})


async def test_tokens_of_streams_that_failed_have_the_same_error_types(limited: Recorder) -> None:
    ai = failing(map(made, range(MANY)), late=True)
    for _ in range(MANY):
        with pytest.raises(Exception, match="no"):
            [_ async for _ in ai.chat().user("Hello?").stream()]
    await ai.close()

    assert limited.counts("gen_ai.client.token.usage", "error.type") == counted(MADE, times=2)
    assert_counted(limited, counted(MADE))


async def test_retries_have_the_same_error_types(limited: Recorder) -> None:
    ai = failing(map(enumerated, [*range(MANY), 0]))
    ai._executor = ResilientExecutor(ResilientConfig(retry=RetryConfig(max_retries=MANY, min_delay_ms=0)))
    await fail(ai, 1)

    for name in ("ai_lib.retries", "ai_lib.retry.delay"):
        assert limited.counts(name, "type") == counted(ENUMERATED)
    (call,) = operations(limited)
    assert [(event.attributes or {})["error.type"] for event in call.events] == ENUMERATED


async def test_fallbacks_have_the_same_error_types(limited: Recorder) -> None:
    ai = failing(map(made, range(MANY)))
    ai._fallbacks, ai._loader = ["nowhere/m"], ProtocolLoader(fallback_to_github=False)
    await fail(ai, MANY)

    assert limited.counts("ai_lib.fallbacks", "type") == counted(MADE)
    turns = [event for call in operations(limited) for event in call.events]
    assert [(turn.attributes or {})["error.type"] for turn in turns] == MADE
