"""Messages of exceptions, fit to leave the process: without credentials, and of bounded length."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from opentelemetry_instrumentation_ailib import semconv

_MAX_MESSAGE = 512


def safe_message(error: BaseException, secret: str | None = None) -> str | None:
    """Return an exception's message for a span's status: masked by the runtime's masker, bounded, or ``None``.

    Args:
        error: The exception.
        secret: The credential of the request, taken out wherever the message quotes it.
    """
    message = str(error)
    if not message:
        return None
    for form in _forms(secret) if secret else ():
        message = message.replace(form, "***REDACTED***")
    return semconv.bounded(_masker().mask(message[: 4 * _MAX_MESSAGE]), _MAX_MESSAGE)


def _forms(secret: str) -> list[str]:
    # As it is, in a URL and in a representation of the header; the longest first, since one may contain another.
    forms = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1], ascii(secret)[1:-1]}
    return sorted(forms, key=len, reverse=True)


@functools.lru_cache(maxsize=1)
def _masker() -> Any:
    """Load the runtime's masker at the first failure, from its file alone.

    Importing it would import the runtime's telemetry package, which most applications do not, and hold up the call that
    fails first by twenty times as long.
    """
    loaded = sys.modules.get("ai_lib_python.telemetry.logger")
    if loaded is None:
        runtime = Path(str(sys.modules["ai_lib_python"].__file__)).parent
        spec = importlib.util.spec_from_file_location(f"{__package__}._masker", runtime / "telemetry" / "logger.py")
        if spec is None or spec.loader is None:
            raise ImportError("the runtime has no telemetry/logger.py")
        loaded = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up while they are made.
        sys.modules[spec.name] = loaded
        try:
            spec.loader.exec_module(loaded)
        finally:
            del sys.modules[spec.name]
    return loaded.SensitiveDataMasker()
