"""The clients of one worker, and the resilience components that they keep alive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ai_lib_python import AiClient
from ai_lib_python.pipeline import Pipeline
from ai_lib_python.protocol import ProtocolLoader
from ai_lib_python.resilience import (
    BackpressureConfig,
    CircuitBreakerConfig,
    RateLimiterConfig,
    ResilientConfig,
    RetryConfig,
)
from ai_lib_python.resilience.retry import JitterStrategy
from ai_lib_python.telemetry import MetricsCollector
from ai_lib_python.transport import HttpTransport
from parts import Mapper, Transport
from upstream import IN_PROCESS

from opentelemetry_instrumentation_ailib import observe
from other_clients import SHARED, embedder, reranker

MODEL: Final = "openai/gpt-4o"
COMPONENTS: Final = {"_circuit_breaker": 1, "_rate_limiter": 1, "_backpressure": 2}
"""How many resilience components a worker has, by the attribute of the runtime's executor."""

_RETRY: Final = RetryConfig(max_retries=2, min_delay_ms=1, jitter=JitterStrategy.NONE)


@dataclass
class Clients:
    """What a worker calls.

    Attributes:
        plain: A client without anything.
        steady: One that retries twice and then turns to another model.
        fragile: One whose circuit opens with the second failure.
        limited: One with a rate limiter.
        crowded: One that lets two calls in at a time.
        narrow: One that lets one call in, and others wait for a moment.
        own: One whose transport and mapper the application wrote.
        noted: One with a collector and a tracer of its own.
        collector: That collector.
        remote: One whose provider is in another process, if there is one.
        embedder: One for embeddings.
        reranker: One for reranking; none where the runtime lets nobody between it and the network.
        manifest: OpenAI's, for clients that live for one call.
    """

    plain: Any
    steady: Any
    fragile: Any
    limited: Any
    crowded: Any
    narrow: Any
    own: Any
    noted: Any
    collector: Any
    remote: Any
    embedder: Any
    reranker: Any
    manifest: Any

    @classmethod
    async def open(cls, remote: str | None, tracer: Any) -> Clients:
        """Open them all.

        Args:
            remote: The base URL of the provider in another process.
            tracer: The tracer of ``noted``.
        """
        noted, collector = await client(), MetricsCollector()
        observe(noted, metrics=collector, tracer=tracer)
        manifest = await ProtocolLoader().load_provider("openai")
        return cls(
            plain=await client(),
            steady=await client(["anthropic/claude"], retry=_RETRY),
            fragile=await client(
                circuit_breaker=CircuitBreakerConfig(failure_threshold=2, success_threshold=1, cooldown_seconds=0.02)
            ),
            limited=await client(rate_limit=RateLimiterConfig(requests_per_second=2000, burst_size=1)),
            crowded=await client(backpressure=BackpressureConfig(max_concurrent=2)),
            narrow=await client(backpressure=BackpressureConfig(max_concurrent=1, queue_timeout=0.002)),
            own=_own(manifest),
            noted=noted,
            collector=collector,
            remote=None if remote is None else await AiClient.create(MODEL, base_url=remote),
            embedder=await embedder(IN_PROCESS),
            reranker=await reranker(IN_PROCESS) if SHARED else None,
            manifest=manifest,
        )

    def fresh(self, model: str) -> Any:
        """Return a client that is made for one call.

        Args:
            model: The model, without its provider.
        """
        transport = HttpTransport(self.manifest, model, base_url_override=IN_PROCESS)
        return AiClient(self.manifest, transport, Pipeline.from_manifest(self.manifest), f"openai/{model}")

    async def close(self) -> None:
        """Close them all."""
        for each in vars(self).values():
            if hasattr(each, "close"):
                await each.close()


def _own(manifest: Any) -> Any:
    pipeline = Pipeline.from_manifest(manifest)
    transport = Transport(manifest, "gpt-4o", base_url_override=IN_PROCESS)
    return AiClient(manifest, transport, pipeline.with_event_mapper(Mapper(pipeline._event_mapper)), MODEL)


async def client(fallbacks: list[str] | None = None, **resilience: Any) -> Any:
    """Return a client of the providers inside the process.

    Args:
        fallbacks: The models to turn to.
        resilience: The arguments of ``ResilientConfig``; without any there is no executor.
    """
    builder = AiClient.builder().model(MODEL).base_url(IN_PROCESS).with_fallbacks(fallbacks or [])
    if resilience:
        builder.with_resilience(ResilientConfig(**resilience))
    made: Any = await builder.build()
    made._loader._fallback_to_github = False
    return made
