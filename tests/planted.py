"""Credentials planted in a manifest, and a search for them in everything that is exported."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import html
import json
import logging
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

import pytest
from ai_lib_python import AiClient
from ai_lib_python.transport import auth
from google.protobuf.json_format import MessageToJson
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from other_clients import SHARED, embedder, opened, reranker, speaker, transcriber
from recorder import Recorder

# --- the search ---

# So many characters of a form are no coincidence: what was cut off in the middle is found, too.
WINDOW = 12


def forms(secret: str) -> set[str]:
    """Return the forms in which something may quote a secret."""
    plain, quoted = secret.encode(), quote(secret, safe="")
    escaped = {repr(secret)[1:-1], ascii(secret)[1:-1], json.dumps(secret)[1:-1]}
    escaped |= {json.dumps(form)[1:-1] for form in escaped} | {json.dumps(secret, ensure_ascii=False)[1:-1]}
    escaped |= {secret.replace("/", "\\/"), html.escape(secret), quote(secret), quote_plus(secret), quoted}
    # What is before a secret in the same text shifts its base64 by up to two bytes; the ends belong to the neighbours.
    shifted = [base64.b64encode(b"\0" * shift + plain).decode()[4:-4] for shift in range(3)]
    urlsafe = [text.replace("+", "-").replace("/", "_") for text in shifted]
    return {secret, *escaped, quoted.lower(), plain.hex(), *shifted, *urlsafe}


@functools.lru_cache
def windows(secret: str) -> frozenset[bytes]:
    """Return stretches of every form, of which any longer stretch has at least one."""
    encoded = [form.encode() for form in forms(secret)]
    return frozenset(
        form[start : start + WINDOW]
        for form in encoded
        for start in (*range(0, len(form) - WINDOW, WINDOW // 2), max(len(form) - WINDOW, 0))
    )


def holds(content: bytes, secret: str) -> bool:
    """Tell whether a secret is in there, in any form, or a part of it."""
    return any(window in content for window in windows(secret))


class Exported:
    """Everything that is exported from now on, what is logged included.

    Args:
        recorder: Where spans, metrics and events go.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.lines: list[str] = []

    @contextlib.contextmanager
    def logs(self) -> Iterator[None]:
        """Export what our loggers log at any level, and keep the lines that a log file would have."""
        handlers = _Lines(self.lines), _exporting_handler(self.recorder)
        loggers = [
            logging.getLogger(name) for name in ("ai_lib", "ai_lib_python", "opentelemetry_instrumentation_ailib")
        ]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(5)
            for handler in handlers:
                logger.addHandler(handler)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
                for handler in handlers:
                    logger.removeHandler(handler)

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Yield each thing exported with what it is: as text, as OTLP sends it, and as OTLP's JSON."""
        recorder = self.recorder
        spans, metrics, logs = recorder.spans(), recorder.reader.get_metrics_data(), recorder._logs.get_finished_logs()
        yield from ((f"span {span.name}", span.to_json(indent=None).encode()) for span in spans)
        yield from ((f"log record {index}", log.to_json(indent=None).encode()) for index, log in enumerate(logs))
        yield from (("log line", line.encode()) for line in self.lines)
        messages = {"spans": encode_spans(spans), "logs": encode_logs(logs)}
        if metrics is not None:
            yield "metrics", metrics.to_json(indent=None).encode()
            messages["metrics"] = encode_metrics(metrics)
        for name, message in messages.items():
            yield f"OTLP {name}", message.SerializeToString()
            yield f"OTLP {name} as JSON", MessageToJson(message, ensure_ascii=False, indent=None).encode()

    def leaks(self, *secrets: str) -> list[str]:
        """Return what of it holds one of the secrets."""
        return [
            f"{what}: {_around(content, secret)}"
            for what, content in self.everything()
            for secret in secrets
            if holds(content, secret)
        ]

    def clear(self) -> None:
        """Forget spans, records and lines; metrics are cumulative."""
        self.recorder.clear()
        self.lines.clear()


class _Lines(logging.Handler):
    """Keeps what a log file would have of each record, tracebacks included, and the fields of the record."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(f"{self.format(record)} {vars(record)}")


def _around(content: bytes, secret: str) -> str:
    start = min(found for window in windows(secret) if (found := content.find(window)) >= 0)
    return content[max(start - 60, 0) : start + 60].decode(errors="replace")


def _exporting_handler(recorder: Recorder) -> logging.Handler:
    # The one of the SDK is deprecated for one of a package of its own.
    try:
        from opentelemetry.instrumentation.logging.handler import LoggingHandler
    except ImportError:
        from opentelemetry.sdk._logs import LoggingHandler  # type: ignore[assignment]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return LoggingHandler(logger_provider=recorder.logger_provider)


# --- what is planted ---


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
    (result,) = await asyncio.gather(call(), return_exceptions=True)
    return result
