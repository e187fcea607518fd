"""Credentials planted in a manifest, and a search for them in everything that is exported."""

from __future__ import annotations

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
from ai_lib_python.protocol.manifest import ProtocolManifest
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
        loggers = [logging.getLogger(name) for name in ("ai_lib", "ai_lib_python", "opentelemetry_instrumentation_ailib")]
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
    # That of the SDK is deprecated for one of a package that the runtime's oldest releases do not come with.
    from opentelemetry.sdk._logs import LoggingHandler

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


async def plant(kind: Kind, secret: str, folder: Path, patch: pytest.MonkeyPatch) -> str | None:
    """Write the manifest of a provider ``planted``, put its credential where it belongs, and return it as an argument.

    Args:
        kind: The kind of credential.
        secret: The credential.
        folder: Where to write.
        patch: Changes the environment.
    """
    manifest = {
        "id": "planted",
        "protocol_version": "1.5",
        "endpoint": {"base_url": "http://planted.example/v1"},
        "auth": {**kind.auth, **({"token_env": "PLANTED_TOKEN"} if kind.place == "environment" else {})},
        "endpoints": {name: {"path": f"/{name}", "method": "POST"} for name in ("chat", "embeddings", "rerank")},
        "streaming": {"decoder": {"format": "sse", "strategy": "openai_chat"}},
    }
    path = folder / "v1" / "providers" / "planted.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest))
    patch.setenv("AI_PROTOCOL_DIR", str(folder))
    for name in ("PLANTED_TOKEN", "PLANTED_API_KEY"):
        patch.delenv(name, raising=False)
    keyring = {("ai-protocol", "planted"): secret} if kind.place == "keyring" else {}
    patch.setattr(auth, "_keyring", SimpleNamespace(get_password=lambda *key: keyring.get(key)))
    if kind.place == "environment":
        patch.setenv("PLANTED_TOKEN", secret)
    if kind.place == "convention":
        patch.setenv("PLANTED_API_KEY", secret)
    if kind.place == "argument" or not SHARED:
        return secret
    return auth.resolve_credential("planted", ProtocolManifest.model_validate(manifest)).secret and None


# --- the calls that carry it ---

PROMPT = "Where is it planted?"
Make = Callable[[Any], Awaitable[Any]]


async def _stream(client: Any) -> Any:
    return [event async for event in client.chat().user(PROMPT).stream()]


async def _chatter(base_url: str, key: str | None, **options: Any) -> Any:
    return await AiClient.create("planted/m", base_url=base_url, api_key=key, **options)


CALLS: dict[str, tuple[Callable[..., Awaitable[Any]], Make]] = {
    "chat": (_chatter, lambda client: client.chat().user(PROMPT).execute()),
    "stream": (_chatter, _stream),
    "embeddings": (embedder, lambda client: client.embed(PROMPT)),
    "rerank": (reranker, lambda client: client.rerank(PROMPT, ["here", "there"])),
    "speech_to_text": (transcriber, lambda client: client.transcribe(PROMPT.encode())),
    "text_to_speech": (speaker, lambda client: client.synthesize(PROMPT)),
}


@contextlib.asynccontextmanager
async def callers(base_url: str, key: str | None, **options: Any) -> AsyncIterator[dict[str, Callable[[], Any]]]:
    """Open a client for each kind of call, and yield what makes the calls."""
    async with contextlib.AsyncExitStack() as stack:
        made: dict[str, Callable[[], Any]] = {}
        for name, (open_client, make) in CALLS.items():
            model = {} if open_client is _chatter else {"model": "planted/m"}
            client = await open_client(base_url, key=key, **model, **options)
            await stack.enter_async_context(opened(client))
            made[name] = lambda make=make, client=client: make(client)  # type: ignore[misc]
        yield made
