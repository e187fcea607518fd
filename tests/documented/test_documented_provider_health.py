"""What says something about a provider, to ``get_health_tracker()`` and to ``ai_lib.provider.health``."""

# What the runtime itself does not declare.
# mypy: disable-error-code="call-arg, attr-defined"

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ai_lib_python import AiClient
from ai_lib_python.resilience import BackpressureConfig, CircuitBreakerConfig
from ai_lib_python.telemetry import HealthChecker
from ai_lib_python.transport import HttpTransport
from asked import OK, SERVER_ERROR, calls, fresh_tracker, shown
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from other_clients import opened, reranker, speaker, transcriber
from provider import Step, body, delta, events, provider
from recorder import Recorder
from resilient import chatting

tracker = pytest.fixture(autouse=True)(fresh_tracker)


# --- evidence ---


async def unsent(client: Any) -> None:
    await client.chat().user("Hello?").param("seed", object()).execute()


async def cancelled(client: Any) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(client.chat().user("Hello?").execute(), 0.01)
    await asyncio.sleep(0.1)  # The server comes to the end of its answer, which nobody takes.


async def plain(client: Any) -> None:
    await client.chat().user("Hello?").execute()


async def streamed(client: Any) -> None:
    async for _ in client.chat().user("Hello?").stream():
        pass


async def left(client: Any) -> None:
    async for _ in client.chat().user("Hello?").stream():
        break


FRAMES = events(delta("Hel"), delta("lo", finish="stop"))
EVIDENCE: dict[str, tuple[Callable[[Any], Awaitable[None]], list[Step], str | None]] = {
    "answered": (plain, OK, "healthy"),
    "streamed": (streamed, FRAMES, "healthy"),
    "left by the consumer": (left, FRAMES, "healthy"),
    "invalid request": (plain, body({"error": {"message": "No."}}, 400), "healthy"),
    "not found": (plain, body({"error": {"message": "No."}}, 404), "healthy"),
    "rate limited": (plain, body({"error": {"message": "No."}}, 429), "unhealthy"),
    "not authorised": (plain, body({"error": {"message": "No."}}, 401), "unhealthy"),
    "server error": (plain, SERVER_ERROR, "unhealthy"),
    "hung up": (plain, [], "unhealthy"),
    "no JSON": (plain, body(b"<html>"), "unhealthy"),
    "cut stream": (streamed, events(delta("Hel"), done=False, end=False), "unhealthy"),
    "never sent": (unsent, OK, None),
    "cancelled": (cancelled, [0.03, *OK], None),
}


@pytest.mark.parametrize("name", EVIDENCE)
async def test_what_says_something_about_a_provider(name: str, instrumented: Recorder, tracker: Any) -> None:
    """What was given up, or never sent, says nothing; a refusal of the request says that somebody is there."""
    call, script, status = EVIDENCE[name]
    async with provider(script) as server:
        client = await AiClient.create("openai/gpt-4o", base_url=server.base_url)
        await asyncio.gather(call(client), return_exceptions=True)
        await client.close()
    assert shown(instrumented) == ({} if status is None else {"openai": status})
    assert tracker.get_status("openai").value == (status or "unknown")


OTHERS: dict[str, tuple[Callable[..., Awaitable[Any]], Callable[[Any], Awaitable[Any]]]] = {
    "rerank": (reranker, lambda client: client.rerank("Where?", ["here", "there"])),
    "speech to text": (transcriber, lambda client: client.transcribe(b"Hello")),
    "text to speech": (speaker, lambda client: client.synthesize("Hello")),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, "healthy"),
        (404, "healthy"),
        (413, "healthy"),
        (418, "healthy"),
        (401, "unhealthy"),
        (429, "unhealthy"),
        (500, "unhealthy"),
    ],
)
async def test_a_request_that_is_refused_says_as_much_to_every_client(
    name: str, status: int, expected: str, instrumented: Recorder, tracker: Any
) -> None:
    """Before 1.2.0 these clients raise what httpx does, of one type for every status."""
    opens, call = OTHERS[name]
    async with (
        provider(body({"error": {"message": "No."}}, status)) as server,
        opened(await opens(server.base_url)) as ai,
    ):
        await asyncio.gather(call(ai), return_exceptions=True)
    ((asked, found),) = shown(instrumented).items()
    assert found == expected
    assert tracker.get_status(asked).value == expected


class HTTPStatusError(Exception):
    """By its name httpx's, but one of the application's own."""

    def __init__(self, **holds: Any) -> None:
        super().__init__()
        vars(self).update(holds)


@pytest.mark.parametrize(
    "error",
    [HTTPStatusError(), HTTPStatusError(response=None), HTTPStatusError(response=SimpleNamespace(status_code="400"))],
    ids=["bare", "no response", "no status"],
)
async def test_an_exception_that_tells_no_status_is_a_failure(
    error: Exception, instrumented: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(AiClient, "_parse_response", fail)
    async with provider(OK) as server:
        client = await AiClient.create("openai/gpt-4o", base_url=server.base_url)
        (raised,) = await asyncio.gather(plain(client), return_exceptions=True)
        await client.close()
    assert raised is error
    assert shown(instrumented) == {"openai": "unhealthy"}


CLAUDE = "anthropic/claude"
FULL = BackpressureConfig(max_concurrent=1, queue_timeout=0.01)
OPEN = CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=3600)
SLOW = [0.3, *OK]


async def at_once(client: Any) -> None:
    await asyncio.gather(*(plain(client) for _ in range(3)), return_exceptions=True)


async def in_turn(client: Any) -> None:
    for _ in range(3):
        await asyncio.gather(plain(client), return_exceptions=True)


# The calls; what is between them and the provider; what is answered; the fallbacks.
TURNED_AWAY: dict[str, tuple[Callable[[Any], Awaitable[None]], dict[str, Any], list[list[Step]], list[str]]] = {
    "never sent": (unsent, {}, [OK], [CLAUDE]),
    "a full queue": (at_once, {"backpressure": FULL}, [SLOW], [CLAUDE]),
    "an open breaker": (in_turn, {"circuit_breaker": OPEN}, [SERVER_ERROR], [CLAUDE]),
    "a fallback without a manifest": (plain, {}, [SERVER_ERROR, OK], ["missing/m", CLAUDE]),
    "an answer": (plain, {}, [body({"error": {"message": "No."}}, 404), OK], [CLAUDE]),
}
FOUND = {
    "never sent": {},
    "a full queue": {"openai": (1, None)},
    "an open breaker": {"openai": (1, "server_error")},
    "a fallback without a manifest": {"openai": (1, "server_error"), "anthropic": (1, None)},
    "an answer": {"openai": (1, None)},
}


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("name", TURNED_AWAY)
async def test_what_says_nothing_about_a_provider_says_nothing_where_a_fallback_follows_either(name: str) -> None:
    call, resilience, scripts, fallbacks = TURNED_AWAY[name]
    async with (
        provider(*scripts) as server,
        chatting(server.base_url, fallbacks=fallbacks, **resilience) as client,
    ):
        await asyncio.gather(call(client), return_exceptions=True)
    providers = (await HealthChecker().check()).details["providers"]
    assert {known: (health["calls"], health["last_error"]) for known, health in providers.items()} == FOUND[name]


class Asking(HttpTransport):
    """A transport of the user's own that makes another client before it fails."""

    async def request(self, *_: Any, **__: Any) -> Any:
        await (await AiClient.create(CLAUDE)).close()
        raise OSError("no route")


async def test_a_manifest_that_somebody_else_loads_meanwhile_is_no_stage_of_the_call(
    instrumented: Recorder, tracker: Any
) -> None:
    client = await AiClient.create("openai/gpt-4o", base_url="http://provider.example/v1")
    client._transport.__class__ = Asking
    with pytest.raises(OSError, match="no route"):
        await plain(client)
    assert tracker.get_status("openai").value == "unhealthy"
    assert instrumented.counts("ai_lib.errors", "stage") == {"http.transport": 1}


async def test_a_manifest_that_a_loader_of_the_users_own_does_not_get_is_where_the_call_failed(
    instrumented: Recorder, tracker: Any
) -> None:
    async with (
        provider(SERVER_ERROR) as server,
        chatting(server.base_url, fallbacks=["missing/m"]) as client,
    ):
        client._loader = SimpleNamespace(load_model=client._loader.load_model)
        await asyncio.gather(plain(client), return_exceptions=True)
    assert instrumented.counts("ai_lib.errors", "stage") == {"protocol.load": 1}
    assert tracker.get_details("openai")["sample_count"] == 0


class Down(HttpTransport):
    """A transport of the user's own."""

    async def request(self, *_: Any, **__: Any) -> Any:
        raise OSError("no route")


@pytest.fixture(params=[True, False], ids=["heard", "unheard"])
def heard(request: pytest.FixtureRequest, recorder: Recorder) -> Iterator[bool]:
    """The runtime, instrumented, and whether anybody listens."""
    nobody = {"tracer_provider": NoOpTracerProvider(), "meter_provider": NoOpMeterProvider()}
    AiLibInstrumentor().instrument(**(recorder.providers if request.param else nobody))
    yield request.param
    AiLibInstrumentor().uninstrument()


async def test_what_a_transport_of_the_users_own_fails_with_is_the_providers(
    heard: bool, recorder: Recorder, tracker: Any
) -> None:
    client = await AiClient.create("openai/gpt-4o", base_url="http://provider.example/v1")
    client._transport.__class__ = Down
    with pytest.raises(OSError, match="no route"):
        await plain(client)
    assert tracker.get_status("openai").value == "unhealthy"
    assert shown(recorder) == ({"openai": "unhealthy"} if heard else {})
    assert recorder.counts("ai_lib.errors", "stage") == ({"http.transport": 1} if heard else {})


# --- the runtime's tracker ---


async def test_the_tracker_is_fed_by_every_call(instrumented: Recorder, tracker: Any) -> None:
    async with provider(OK, OK, SERVER_ERROR) as server:
        await calls(server, 3)
    details = tracker.get_details("openai")
    assert (details["sample_count"], details["error_rate"]) == (3, pytest.approx(1 / 3))
    assert (details["status"], details["last_error"]) == ("degraded", "server_error")
    assert details["last_failure_time"] >= details["last_success_time"] > 0


async def test_documented_api_false_does_not_feed_it(recorder: Recorder, tracker: Any) -> None:
    AiLibInstrumentor().instrument(**recorder.providers, documented_api=False)
    async with provider(OK) as server:
        await calls(server)
    assert shown(recorder) == {"openai": "healthy"}
    AiLibInstrumentor().uninstrument()
    assert tracker.get_all_providers() == []


def test_it_is_not_made_where_nobody_asks_for_it(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ai_lib_python.telemetry.health._global_health_tracker", None)
    AiLibInstrumentor().instrument(**recorder.providers)
    AiLibInstrumentor().uninstrument()
    from ai_lib_python.telemetry import health

    assert health._global_health_tracker is None


LATE = """
import asyncio, sys
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
AiLibInstrumentor().instrument()
from ai_lib_python import AiClient

async def main():
    for _ in range(3):
        client = await AiClient.create("openai/gpt-4o", base_url=sys.argv[1])
        await client.chat().user("Hello?").execute()
        await client.close()
    assert "ai_lib_python.telemetry" not in sys.modules
    from ai_lib_python.telemetry import get_health_tracker
    print(get_health_tracker().get_details("openai")["sample_count"])

asyncio.run(main())
"""


def test_a_tracker_that_is_imported_late_has_the_calls_before(mock: str) -> None:
    command = [sys.executable, "-c", LATE, mock]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("3\n", "")


# --- the gauge ---


async def test_the_gauge_is_silent_after_uninstrument_and_starts_anew(recorder: Recorder, tracker: Any) -> None:
    AiLibInstrumentor().instrument(**recorder.providers)
    async with provider(SERVER_ERROR) as server:
        await calls(server)
    assert shown(recorder) == {"openai": "unhealthy"}
    AiLibInstrumentor().uninstrument()
    assert recorder.points("ai_lib.provider.health") == []
    other = Recorder()
    AiLibInstrumentor().instrument(**other.providers)
    async with provider(OK) as server:
        await calls(server, model="anthropic/claude")
    assert (shown(recorder), shown(other)) == ({}, {"anthropic": "healthy"})
    AiLibInstrumentor().uninstrument()
