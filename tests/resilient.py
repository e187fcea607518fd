"""Calls through an executor, and everything that is exported about them as plain values that compare."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from ai_lib_python.resilience import ResilientConfig, RetryConfig
from ai_lib_python.resilience.retry import JitterStrategy
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from differential import _transports
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from opentelemetry_instrumentation_ailib.live import LiveComponents
from provider import Provider, Step, body, provider
from recorder import Recorder

# Not the subject here: one comes from a price list, which changes, the other from what the runtime knows of providers.
COST, HEALTH = "ai_lib.cost", "ai_lib.provider.health"
ADDRESS = "127.0.0.1"
BROKEN = body(b"<html>")
JSON_ERROR = "json.decoder.JSONDecodeError"
GPT = {"provider": "openai", "model": "gpt-4o"}
CLAUDE = {"provider": "anthropic", "model": "claude"}
MISTRAL = {"provider": "selective", "model": "org/m"}


@pytest.fixture(autouse=True)
def own_components(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gauges know none of the components that earlier tests left to the garbage collector.

    It counts in modules that import it.
    """
    monkeypatch.setattr(AiLibInstrumentor, "_components", LiveComponents())


def refusal(status: int, **headers: str) -> list[Step]:
    """Return the steps of a response that refuses the request."""
    return body({"error": {"message": "No."}}, status, {name.replace("_", "-"): it for name, it in headers.items()})


def fast(max_retries: int = 2, **options: Any) -> RetryConfig:
    """Return a retry policy that waits 4 ms, 8 ms and so on."""
    return RetryConfig(max_retries=max_retries, min_delay_ms=4, jitter=JitterStrategy.NONE, **options)


@contextlib.asynccontextmanager
async def chatting(
    base_url: str, model: str = "openai/gpt-4o", fallbacks: Sequence[str] = (), **resilience: Any
) -> AsyncIterator[Any]:
    """Open a client that looks for manifests in the tests' folder alone, and close all of its transports afterwards.

    Args:
        base_url: Where all its models are.
        model: The model with its provider.
        fallbacks: Those to turn to.
        resilience: The arguments of ``ResilientConfig``; without any, the client has no executor.
    """
    from ai_lib_python import AiClient

    with _transports() as transports:
        builder = AiClient.builder().model(model).with_fallbacks(list(fallbacks)).base_url(base_url)
        if resilience:
            builder.with_resilience(ResilientConfig(**resilience))
        ai: Any = await builder.build()
        ai._loader._fallback_to_github = False
        try:
            yield ai
        finally:
            for transport in transports:
                await transport.close()


@contextlib.asynccontextmanager
async def served(*scripts: Sequence[Step], **options: Any) -> AsyncIterator[tuple[Provider, Any]]:
    """Run a provider and open a client of it.

    Args:
        scripts: The provider's answers, as in ``provider``.
        options: The arguments of ``chatting``.
    """
    async with provider(*scripts) as server, chatting(server.base_url, **options) as ai:
        yield server, ai


@dataclass(frozen=True)
class Seconds:
    """A time that is measured: equal to any that lies within its bounds."""

    least: float = 0.0
    most: float = 5.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and self.least <= other <= self.most

    __hash__ = None  # type: ignore[assignment]


WAIT: dict[str, Any] = {"ai_lib.resilience.wait": Seconds()}

# --- spans ---

Event = tuple[str, dict[str, Any]]


@dataclass
class Seen:
    """A span with all that is under it, in the order in which it began."""

    name: str
    attributes: dict[str, Any]
    description: str | None = None
    events: list[Event] = field(default_factory=list)
    children: list[Seen] = field(default_factory=list)
    failed: bool = False


def seen(recorder: Recorder) -> list[Seen]:
    """Return all spans as trees, by start time."""
    spans = sorted(recorder.spans(), key=lambda span: span.start_time or 0)
    return [_tree(recorder, span) for span in spans if span.parent is None]


def _tree(recorder: Recorder, span: ReadableSpan) -> Seen:
    return Seen(
        span.name,
        {name: value for name, value in (span.attributes or {}).items() if name != COST},
        span.status.description,
        [(event.name, dict(event.attributes or {})) for event in span.events],
        [_tree(recorder, child) for child in recorder.children(span)],
        span.status.status_code is StatusCode.ERROR,
    )


def stage(name: str, error: str | None = None, **attributes: Any) -> Seen:
    """Return the span of a stage."""
    failure = {} if error is None else {"error.type": error}
    return Seen(f"ai_lib.{name}", {"ai_lib.stage": name, **attributes, **failure}, failed=error is not None)


COMPILE = stage("request.compile")
PARSE = stage("pipeline.process")


def load(source: str = "local", version: str = "1.5") -> Seen:
    """Return the span of a manifest load."""
    return stage("protocol.load", **{"ai_lib.protocol.source": source, "ai_lib.protocol.version": version})


def port(base_url: str) -> int:
    """Return the port of a provider."""
    return int(base_url.rsplit(":", 1)[1].split("/")[0])


def transport(
    base_url: str, status: int | None, error: str | None = None, *, resend: int = 0, path: str = "/chat/completions"
) -> Seen:
    """Return the span of an HTTP exchange."""
    more: dict[str, Any] = {} if status is None else {"http.response.status_code": status}
    if resend:
        more["http.request.resend_count"] = resend
    place = {"server.address": ADDRESS, "server.port": port(base_url), "url.path": f"/v1{path}"}
    return stage("http.transport", error, **{"http.request.method": "POST", **place, **more})


ANSWER = {
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 5,
}


def operation(base_url: str, *children: Seen, error: str | None = None, **more: Any) -> Seen:
    """Return the span of a chat with ``openai/gpt-4o``.

    Args:
        base_url: Where the provider listens.
        children: The spans under it.
        error: Its error type; without one it is answered by the tests' completion.
        more: ``attempts``, ``events``, ``description``, and attributes by their names.
    """
    attempts, events, description = more.pop("attempts", 1), more.pop("events", []), more.pop("description", None)
    asked = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
    attributes = {
        **asked,
        "server.address": ADDRESS,
        "server.port": port(base_url),
        "ai_lib.provider.id": "openai",
        "ai_lib.attempts": attempts,
        **(ANSWER if error is None else {"error.type": error}),
        **more,
    }
    return Seen("chat gpt-4o", attributes, description, events, list(children), error is not None)


def retried(attempt: int, delay: float, error: str) -> Event:
    """Return the event of a retry."""
    return "ai_lib.retry", {"attempt": attempt, "delay": delay, "error.type": error}


def turned(origin: str, target: str, error: str) -> Event:
    """Return the event of a fallback."""
    return "ai_lib.fallback", {"from": origin, "to": target, "error.type": error}


# --- metrics ---


class Point(NamedTuple):
    """A point of a metric: its labels, sorted, and its value, which is the count of a histogram."""

    labels: tuple[tuple[str, Any], ...]
    value: Any


def point(value: Any, labels: dict[str, Any] | None = None, **more: Any) -> Point:
    """Return a point."""
    return Point(tuple(sorted({**(labels or {}), **more}.items())), value)


def measured(recorder: Recorder, *names: str) -> dict[str, list[Point]]:
    """Return the points of these metrics that have any, sorted; by default of all but those of the conventions."""
    data = recorder._metrics()
    chosen = [f"ai_lib.{name}" for name in names] or [
        name for name in data if name.startswith("ai_lib.") and name not in (COST, HEALTH)
    ]
    return {name: sorted(point(value, labels) for labels, value in recorder.points(name)) for name in chosen}


def points(*expected: Point) -> list[Point]:
    """Return points as ``measured`` does."""
    return sorted(expected)


def stages(answered: dict[str, Any], **counts: int) -> list[Point]:
    """Return points of ``ai_lib.stage.duration`` for a chat; the names of stages with ``_`` for their dot."""
    return [point(count, answered, operation="chat", stage=name.replace("_", ".")) for name, count in counts.items()]


def states(executor: str, state: str) -> list[Point]:
    """Return the points of the gauge of a breaker's state."""
    return points(
        *(point(int(name == state), executor=executor, state=name) for name in ("closed", "half_open", "open"))
    )
