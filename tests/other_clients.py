"""The runtime's clients besides ``AiClient``, opened the same way in every release, and what is expected of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from ai_lib_python.embeddings.client import EmbeddingClient
from ai_lib_python.protocol import ProtocolLoader
from ai_lib_python.rerank.client import RerankerClient, RerankOptions
from ai_lib_python.stt.client import SttClient, SttOptions
from ai_lib_python.transport import HttpTransport
from ai_lib_python.tts.client import TtsClient, TtsOptions
from opentelemetry.sdk.trace import ReadableSpan

from provider import Step, body
from recorder import Recorder

ADDRESS = "127.0.0.1"
SHARED = hasattr(HttpTransport, "with_explicit_bearer")
"""Whether all clients send their requests through an ``HttpTransport``, which can be seen; they do since 1.2.0."""

KEY = "secret-of-retrieval"


@contextlib.asynccontextmanager
async def opened(client: Any) -> AsyncIterator[Any]:
    """Close a client at the end; those without a transport have nothing to close."""
    try:
        yield client
    finally:
        if hasattr(client, "close"):
            await client.close()


async def embedder(base_url: str, *, model: str = "retrieval/embed-3", key: str | None = KEY, **options: Any) -> Any:
    """Return a client for embeddings; options are the builder's methods and their argument."""
    builder = EmbeddingClient.builder().model(model).api_key(key).base_url(base_url)
    for name, value in options.items():
        getattr(builder, name)(value)
    return await builder.build()


async def built(kind: Any, base_url: str, *, model: str, key: str | None = KEY, **options: Any) -> Any:
    """Return a client of another kind: with a manifest, where the model names one and the runtime can."""
    provider_id, _, name = model.rpartition("/")
    builder = kind.builder().model(name).api_key(key)
    if SHARED and provider_id:
        builder.from_manifest(await ProtocolLoader().load_provider(provider_id), name)
    builder.base_url(base_url)
    for option, value in options.items():
        getattr(builder, option)(value)
    return await builder.build()


async def reranker(base_url: str, *, model: str = "rerank-3", **options: Any) -> Any:
    """Return a client for reranking."""
    return await built(RerankerClient, base_url, model=model, **options)


async def transcriber(base_url: str, *, model: str = "whisper-1", **options: Any) -> Any:
    """Return a client for speech to text, at the provider's ``/v1``."""
    return await built(SttClient, base_url.removesuffix("/v1"), model=model, **options)


async def speaker(base_url: str, *, model: str = "tts-1", **options: Any) -> Any:
    """Return a client for text to speech, at the provider's ``/v1``."""
    return await built(TtsClient, base_url.removesuffix("/v1"), model=model, **options)


# --- answers ---


def vectors(count: int = 1, tokens: int | None = 8, headers: dict[str, str] | None = None, **more: Any) -> list[Step]:
    """Return the steps of a response with embeddings."""
    data = [{"object": "embedding", "index": index, "embedding": [0.5, 0.25]} for index in range(count)]
    usage = {} if tokens is None else {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    return body({"object": "list", "data": data, "model": "embed-3-2025", **usage, **more}, 200, headers)


RANKED = body({"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}], "id": "rr-1"})
SPOKEN = body({"text": "Hello", "language": "en"})
AUDIO = body(b"\xff\xfb\x90\x00")


class Call(NamedTuple):
    """A call that every one of these clients can make, and what is known of it.

    Attributes:
        open: Returns the client.
        make: Makes the call.
        method: The name of its method.
        parameters: The arguments of that call by name.
        answer: The provider's answer to it.
        operation: ``gen_ai.operation.name``.
        model: The model.
        path: Where the request goes.
        visible: Whether its request can be seen.
    """

    open: Callable[..., Awaitable[Any]]
    make: Callable[[Any], Awaitable[Any]]
    method: str
    parameters: dict[str, Any]
    answer: Sequence[Step]
    operation: str
    model: str
    path: str
    visible: bool = SHARED

    @property
    def span(self) -> str:
        """The name of the operation span."""
        return f"{self.operation} {self.model}"

    @property
    def provider(self) -> str:
        """The provider where no manifest is given."""
        return "retrieval" if self.operation == "embeddings" else "explicit"


TEXTS = ["one", "two", "three"]
HITS = RerankOptions(top_n=2)
DICTATION = SttOptions(language="en", temperature=0.25)
VOICE = TtsOptions(voice="alloy", speed=1.5)

CALLS = {
    "embed": Call(
        embedder,
        lambda client: client.embed("one", 2),
        "embed",
        {"text": "one", "dimensions": 2},
        vectors(),
        "embeddings",
        "embed-3",
        "/v1/embeddings",
        visible=True,
    ),
    "embed_batch": Call(
        embedder,
        lambda client: client.embed_batch(TEXTS, batch_size=3),
        "embed_batch",
        {"texts": TEXTS, "batch_size": 3},
        vectors(3),
        "embeddings",
        "embed-3",
        "/v1/embeddings",
        visible=True,
    ),
    "rerank": Call(
        reranker,
        lambda client: client.rerank("which?", TEXTS, options=HITS),
        "rerank",
        {"query": "which?", "documents": TEXTS, "options": HITS},
        RANKED,
        "rerank",
        "rerank-3",
        "/v1/rerank",
    ),
    "transcribe": Call(
        transcriber,
        lambda client: client.transcribe(b"RIFF", DICTATION),
        "transcribe",
        {"audio": b"RIFF", "options": DICTATION},
        SPOKEN,
        "speech_to_text",
        "whisper-1",
        "/v1/audio/transcriptions",
    ),
    "synthesize": Call(
        speaker,
        lambda client: client.synthesize(text="Hello", options=VOICE),
        "synthesize",
        {"text": "Hello", "options": VOICE},
        AUDIO,
        "text_to_speech",
        "tts-1",
        "/v1/audio/speech",
    ),
}


# --- what is expected ---


def port(base_url: str) -> int:
    """Return the port in a URL."""
    return int(base_url.rsplit(":", 1)[1].split("/")[0])


def identity(operation: str, provider_id: str, model: str, base_url: str) -> dict[str, Any]:
    """Return what the spans and the metrics of the conventions say of an operation."""
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider_id,
        "gen_ai.request.model": model,
        "server.address": ADDRESS,
        "server.port": port(base_url),
    }


def described(operation: str, provider_id: str, model: str, base_url: str, **more: Any) -> dict[str, Any]:
    """Return the attributes of an operation span."""
    known = {"ai_lib.provider.id": provider_id, "ai_lib.attempts": 1}
    return {**identity(operation, provider_id, model, base_url), **known, **more}


def exchange(base_url: str, path: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """Return the span of an HTTP exchange: its name and its attributes."""
    return "ai_lib.http.transport", {
        "ai_lib.stage": "http.transport",
        "http.request.method": "POST",
        "url.path": path,
        "server.address": ADDRESS,
        "server.port": port(base_url),
        **more,
    }


def stage(name: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """Return the span of another stage: its name and its attributes."""
    return f"ai_lib.{name}", {"ai_lib.stage": name, **more}


def stages(recorder: Recorder, span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    """Return name and attributes of the spans under another, in the order of their start."""
    return [(child.name, dict(child.attributes or {})) for child in recorder.children(span)]


def healthy(provider_id: str) -> list[tuple[dict[str, Any], int]]:
    """The points of the gauge of a provider whose every call went well."""
    statuses = ("healthy", "degraded", "unhealthy", "unknown")
    return [({"provider": provider_id, "status": status}, int(status == "healthy")) for status in statuses]


def measured(recorder: Recorder) -> dict[str, list[tuple[dict[str, Any], Any]]]:
    """Return every point of every metric; the value of a histogram is its count."""
    return {name: recorder.points(name) for name in recorder.metric_names()}
