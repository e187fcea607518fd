"""What the tests of tracers share: receivers, and a call whose spans go there."""

# What the runtime itself does not declare.
# mypy: disable-error-code="call-arg, attr-defined"

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ai_lib_python import AiClient
from grpc_receiver import GrpcReceiver, grpc_receiver

from differential import _transports

CREATED = ["ai_lib.protocol.load"]
CALLED = ["ai_lib.http.transport", "ai_lib.pipeline.process", "ai_lib.request.compile", "chat gpt-4o"]
ALL = sorted(CREATED + CALLED)
TLS = Path(__file__).resolve().with_name("tls")
"""A certificate for localhost, and its key, which guards nothing."""
LOGGER = "opentelemetry_instrumentation_ailib.documented.delivery"


def receiving() -> Iterator[GrpcReceiver]:
    """An OTLP/gRPC receiver."""
    with grpc_receiver() as received:
        yield received


def deserted() -> str:
    """An endpoint at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def call_once(base_url: str, tracer: Any, **options: Any) -> None:
    """Build a client with a tracer, make one call, and close it and what a fallback opened."""
    with _transports() as transports:
        builder = AiClient.builder().model("openai/gpt-4o").base_url(base_url).tracer(tracer)
        for name, value in options.items():
            getattr(builder, name)(value)
        client = await builder.build()
        try:
            await client.chat().user("Hello?").execute()
        finally:
            for transport in transports:
                await transport.close()


def names(received: GrpcReceiver) -> list[str]:
    """Return the names of the spans that arrived, sorted."""
    return sorted(span.name for span in received.spans)
