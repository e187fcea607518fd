"""Calls over a socket through parts that users write: a builder, a loader, a transport that has no credential."""

from __future__ import annotations

from typing import Any

from ai_lib_python.client.builder import ChatRequestBuilder
from ai_lib_python.protocol import ProtocolLoader
from ai_lib_python.resilience import BackpressureConfig

from provider import body, completion
from recorder import Recorder
from resilient import (  # noqa: F401 - a fixture
    COMPILE,
    GPT,
    PARSE,
    Seconds,
    load,
    measured,
    operation,
    own_components,
    point,
    refusal,
    seen,
    served,
    stage,
    transport,
    turned,
)

TURN = {"from": "openai/gpt-4o", "to": "anthropic/claude"}


class Composing(ChatRequestBuilder):
    """A builder that makes the payload itself."""

    def build_payload(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {"model": "gpt-4o", "messages": []}


class Persistent(ProtocolLoader):
    """A loader that tries again."""

    failures = 1

    async def load_model(self, model_id: str) -> Any:
        try:
            return await super().load_model(model_id)
        except OSError:
            return await super().load_model(model_id)

    async def load_provider(self, provider_id: str, *args: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise OSError("no such disk")
        return await super().load_provider(provider_id, *args)


async def test_a_payload_of_the_users_own_is_no_time_in_the_queue(instrumented: Recorder) -> None:
    script = [0.2, *body(completion())]
    async with served(script, backpressure=BackpressureConfig(max_concurrent=5)) as (server, ai):
        await Composing(ai).user("Hello?").execute()

    waited: dict[str, Any] = {"ai_lib.resilience.wait": Seconds(0.0, 0.15)}
    call = operation(server.base_url, transport(server.base_url, 200), PARSE, **waited)
    assert seen(instrumented) == [load(), call]


async def test_a_loader_that_tries_again_turns_to_the_fallback_once(instrumented: Recorder) -> None:
    async with served(refusal(500), body(completion()), fallbacks=["anthropic/claude"]) as (server, ai):
        ai._loader.__class__ = Persistent
        await ai.chat().user("Hello?").execute()

    failed = stage("protocol.load", "OSError")
    loads = failed, load(version="2.0")
    sent = COMPILE, transport(server.base_url, 500, "server_error")
    answered = COMPILE, transport(server.base_url, 200, resend=1, path="/messages"), PARSE
    one: dict[str, Any] = {"ai_lib.fallback.count": 1, "ai_lib.fallback.model": "claude"}
    events = [turned("openai/gpt-4o", "anthropic/claude", "server_error")]
    assert seen(instrumented)[1:] == [
        operation(server.base_url, *sent, *loads, *answered, attempts=2, events=events, **one)
    ]
    assert measured(instrumented, "fallbacks") == {"ai_lib.fallbacks": [point(1, TURN, type="server_error")]}


async def test_a_transport_without_a_credential_has_its_exchange(instrumented: Recorder) -> None:
    async with served(body(completion())) as (server, ai):
        del ai._transport._credential
        await ai.chat().user("Hello?").execute()

    sent = COMPILE, transport(server.base_url, 200), PARSE
    assert seen(instrumented)[1:] == [operation(server.base_url, *sent)]
    assert measured(instrumented, "attempts") == {"ai_lib.attempts": [point(1, GPT, kind="initial", type="ok")]}
