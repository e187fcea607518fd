"""What the tests of collectors share: clients with one, and the samples of its text."""

from __future__ import annotations

from typing import Any

from ai_lib_python import AiClient
from ai_lib_python.telemetry import MetricLabels
from prometheus_client.parser import text_string_to_metric_families

from provider import body

GPT = MetricLabels(provider="openai", model="gpt-4o")
CHAT = {"provider": "openai", "model": "gpt-4o", "operation": "chat"}
REFUSED = body({"error": {"message": "No."}}, 500)


async def built(base_url: str, collector: Any = None, **options: Any) -> Any:
    """Build a client; options are the builder's methods and their argument."""
    builder = AiClient.builder().model("openai/gpt-4o").base_url(base_url)
    if collector is not None:
        builder = builder.metrics(collector)
    for name, value in options.items():
        getattr(builder, name)(value)
    return await builder.build()


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Return the samples of a name, as Prometheus reads the text."""
    return [
        (dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ]
