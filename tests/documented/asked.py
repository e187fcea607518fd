"""What the tests of health share: calls, and what the details and the gauge say of their provider."""

# What the runtime itself does not declare.
# mypy: disable-error-code="call-arg, attr-defined"

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from ai_lib_python import AiClient
from ai_lib_python.resilience import ResilientConfig
from ai_lib_python.telemetry import (
    get_health_tracker,
)

from differential import _transports
from provider import Provider, body, completion
from recorder import Recorder

OK = body(completion())
SERVER_ERROR = body({"error": {"message": "No."}}, 500)
QUIET = {"export_failures": 0, "failing": False}


def fresh_tracker() -> Iterator[Any]:
    """The runtime's tracker, empty before and after."""
    tracker = get_health_tracker()
    tracker.reset()
    yield tracker
    tracker.reset()


async def calls(server: Provider, count: int = 1, model: str = "openai/gpt-4o", **resilience: Any) -> None:
    """Make calls, whatever comes of them."""
    with _transports() as transports:
        builder = AiClient.builder().model(model).base_url(server.base_url)
        if "fallbacks" in resilience:
            builder.with_fallbacks(resilience.pop("fallbacks"))
        if resilience:
            builder.with_resilience(ResilientConfig(**resilience))
        client = await builder.build()
        for _ in range(count):
            await asyncio.gather(client.chat().user("Hello?").execute(), return_exceptions=True)
        for transport in transports:
            await transport.close()


def health(status: str, rate: float, count: int, error: str | None = None) -> dict[str, Any]:
    """Return what the details say of a provider."""
    return {"status": status, "error_rate": pytest.approx(rate), "calls": count, "last_error": error}


def shown(recorder: Recorder) -> dict[str, str]:
    """Return the status of each provider as the gauge has it, and fail unless it has one."""
    points = recorder.points("ai_lib.provider.health")
    providers = {labels["provider"] for labels, _ in points}
    assert sorted((labels["provider"], labels["status"]) for labels, _ in points) == sorted(
        (name, status) for name in providers for status in ("healthy", "degraded", "unhealthy", "unknown")
    )
    assert sum(value for _, value in points) == len(providers)
    return {labels["provider"]: labels["status"] for labels, value in points if value}
