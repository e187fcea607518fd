"""A search for secrets, in any form, in everything that is exported."""

from __future__ import annotations

import base64
import contextlib
import functools
import html
import json
import logging
import warnings
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from google.protobuf.json_format import MessageToJson  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from recorder import Recorder

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
