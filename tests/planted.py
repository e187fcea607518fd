"""Credentials planted where a manifest says that they are, and the calls that carry them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from ai_lib_python import AiClient
from ai_lib_python.transport import auth
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

from leaks import Exported
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from other_clients import SHARED, embedder, opened, reranker, speaker, transcriber
from recorder import Recorder


class Kind(NamedTuple):
    """A kind of credential.

    Attributes:
        auth: What the manifest says about it; ``token_env`` is added where the environment has it.
        place: Where the runtime finds it.
    """

    auth: dict[str, Any]
    place: str = "environment"


def plant(
    kind: Kind, secret: str, folder: Path, patch: pytest.MonkeyPatch, provider_id: str = "planted", **more: Any
) -> str | None:
    """Write the manifest of a provider and put its credential where it belongs; return it where it is an argument.

    Args:
        kind: The kind of credential.
        secret: The credential.
        folder: Where to write.
        patch: Changes the environment.
        provider_id: The manifest's id.
        more: What the manifest has besides.
    """
    token, convention = f"{provider_id.upper()}_TOKEN", f"{provider_id.upper()}_API_KEY"
    manifest = {
        "id": provider_id,
        "protocol_version": "1.5",
        "endpoint": {"base_url": f"http://{provider_id}.example/v1"},
        "auth": {**kind.auth, **({"token_env": token} if kind.place == "environment" else {})},
        "endpoints": {name: {"path": f"/{name}", "method": "POST"} for name in ("chat", "embeddings", "rerank")},
        "streaming": {"decoder": {"format": "sse", "strategy": "openai_chat"}},
        **more,
    }
    path = folder / "v1" / "providers" / f"{provider_id}.yaml"  # Of which JSON is a part.
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest))
    patch.setenv("AI_PROTOCOL_DIR", str(folder))
    patch.setenv(token, secret if kind.place == "environment" else "")
    patch.setenv(convention, secret if kind.place == "convention" else "")
    kept = {("ai-protocol", provider_id): secret} if kind.place == "keyring" else {}
    patch.setattr(auth, "_keyring", SimpleNamespace(get_password=lambda *names: kept.get(names)))
    return secret if kind.place == "argument" else None


@contextlib.contextmanager
def everything_on(recorder: Recorder, patch: pytest.MonkeyPatch, **options: Any) -> Iterator[Exported]:
    """Switch on all that could give a credential away: messages, logs at any level, the instrumentation of httpx."""
    patch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_AND_EVENT")
    exported = Exported(recorder)
    HTTPXClientInstrumentor().instrument(**recorder.providers)
    AiLibInstrumentor().instrument(**recorder.providers, **options)
    try:
        with exported.logs():
            yield exported
    finally:
        AiLibInstrumentor().uninstrument()
        HTTPXClientInstrumentor().uninstrument()


def exporting(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exported]:
    """All that is exported, with everything switched on."""
    with everything_on(recorder, monkeypatch) as exported:
        yield exported


# --- the calls that carry it ---

PROMPT = "Where is it planted?"


async def _stream(client: Any) -> Any:
    return [event async for event in client.chat().user(PROMPT).stream()]


async def chatter(base_url: str, *, model: str, key: str | None, **options: Any) -> Any:
    """Return a client for chat."""
    return await AiClient.create(model, base_url=base_url, api_key=key, **options)


class Carrier(NamedTuple):
    """A kind of call that carries the credential.

    Attributes:
        open: Returns a client.
        make: Makes the call.
        resolves: Whether the client finds the credential itself. Before 1.2.0 some have to be given it.
    """

    open: Callable[..., Awaitable[Any]]
    make: Callable[[Any], Awaitable[Any]]
    resolves: bool = True


CALLS = {
    "chat": Carrier(chatter, lambda client: client.chat().user(PROMPT).execute()),
    "stream": Carrier(chatter, _stream),
    "embeddings": Carrier(embedder, lambda client: client.embed(PROMPT)),
    "rerank": Carrier(reranker, lambda client: client.rerank(PROMPT, ["here", "there"]), SHARED),
    "speech_to_text": Carrier(transcriber, lambda client: client.transcribe(PROMPT.encode()), SHARED),
    "text_to_speech": Carrier(speaker, lambda client: client.synthesize(PROMPT), SHARED),
}


@contextlib.asynccontextmanager
async def callers(
    base_url: str, key: str | None, secret: str, **options: Any
) -> AsyncIterator[dict[str, Callable[[], Awaitable[Any]]]]:
    """Open a client for each kind of call, and yield what makes the calls.

    Args:
        base_url: Where the provider is.
        key: The credential, if it is to be an argument.
        secret: The credential, for clients that have to be given it.
        options: The builders' methods and their argument.
    """
    async with contextlib.AsyncExitStack() as stack:
        made: dict[str, Callable[[], Awaitable[Any]]] = {}
        for name, call in CALLS.items():
            client = await call.open(base_url, model="planted/m", key=key if call.resolves else secret, **options)
            await stack.enter_async_context(opened(client))
            made[name] = functools.partial(call.make, client)
        yield made


async def outcome(call: Callable[[], Awaitable[Any]]) -> Any:
    """Return the result of a call, or its exception."""
    return (await asyncio.gather(call(), return_exceptions=True))[0]
