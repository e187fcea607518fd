"""Messages of exceptions, fit to leave the process: without credentials, and of bounded length."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from opentelemetry_instrumentation_ailib import naming
from opentelemetry_instrumentation_ailib.fields import Answer

_MAX_MESSAGE = 512
_MIN_SECRET = 8
# Shorter ones tell nothing: ``sk-``.
_MIN_PIECE = 4
_REDACTED = "***REDACTED***"
_ELLIPSIS = "..."
# What every way of quoting leaves as it is.
_WORDS = re.compile(r"[A-Za-z0-9]+")


def safe_message(error: BaseException, secrets: Iterable[str] = ()) -> str | None:
    """Return an exception's message for a span's status: masked by the runtime's masker, bounded, or ``None``.

    Args:
        error: The exception.
        secrets: The credentials of the requests, taken out wherever the message quotes them.
    """
    message = str(error)
    if not message:
        return None
    known = forms(*secrets)
    return masked(_without_pieces(redacted(message, known)[: 4 * _MAX_MESSAGE], known), _MAX_MESSAGE)


def _without_pieces(text: str, secrets: Iterable[str]) -> str:
    """Return a text without the pieces of secrets beside an ellipsis: pydantic, say, abbreviates what it quotes."""
    before, *others = text.split(_ELLIPSIS)
    pieces = [before]
    for after in others:
        for secret in secrets:
            longest = min(len(secret) - 1, max(len(pieces[-1]), len(after)))
            for size in range(longest, _MIN_PIECE - 1, -1):
                if pieces[-1].endswith(secret[:size]):
                    pieces[-1] = pieces[-1][:-size] + _REDACTED
                if after.startswith(secret[-size:]):
                    after = _REDACTED + after[size:]
        pieces.append(after)
    return _ELLIPSIS.join(pieces)


def masked(text: str, length: int) -> str:
    """Return a text as the runtime's masker leaves it, cut to a length."""
    return naming.bounded(_masker().mask(text[: 4 * length]), length)


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return a text without secrets, given in all their forms."""
    for form in secrets:
        text = text.replace(form, _REDACTED)
    return text


def credentials(base_url: str, credential: str | None) -> tuple[str, ...]:
    """Return what a request says to be let in.

    Args:
        base_url: Where it goes, perhaps with a password.
        credential: The provider's.
    """
    password = urlsplit(base_url).password if "@" in base_url else None
    said = credential, password and unquote(password)
    return tuple(filter(None, said))


def clean(answer: Answer, secrets: Iterable[str]) -> Answer:
    """Return what a provider says about its answer without the credentials that it may quote in there."""
    known = []
    said = "\n".join(filter(None, (answer.id, answer.model, *answer.finish_reasons)))
    for secret in secrets:
        # A placeholder (``none``, ``test``) is no secret, and part of many a name.
        if len(secret) >= _MIN_SECRET and max(_WORDS.findall(secret), key=len, default="") in said:
            known.append(secret)
    if not known:
        return answer
    quoted = forms(*known)
    return answer._replace(
        id=answer.id and redacted(answer.id, quoted),
        model=answer.model and redacted(answer.model, quoted),
        finish_reasons=tuple(redacted(reason, quoted) for reason in answer.finish_reasons),
    )


def clean_text(text: str, secrets: Iterable[str]) -> str:
    """Return a text of a provider's without the credentials that it may quote."""
    return redacted(text, forms(*(secret for secret in secrets if len(secret) >= _MIN_SECRET)))


def forms(*secrets: str) -> list[str]:
    """Return the forms in which a text may quote secrets: as they are, in a URL, in Python, in JSON, in JSON in JSON.

    The longest come first, since one may contain another.
    """
    return sorted({form for secret in secrets if secret for form in _forms(secret)}, key=len, reverse=True)


def _forms(secret: str) -> tuple[str, ...]:
    quoted = quote(secret), quote(secret, safe=""), quote_plus(secret)
    written = _json(secret)
    return (
        secret,
        *quoted,
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        *written,
        *(twice for once in written for twice in _json(once)),
    )


def _json(text: str) -> tuple[str, str]:
    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]


@functools.lru_cache(maxsize=1)
def _masker() -> Any:
    """Load the runtime's masker at the first failure, from its file alone.

    Importing it would import the runtime's telemetry package, which most applications do not, and hold up the call that
    fails first by twenty times as long.
    """
    loaded: Any = sys.modules.get("ai_lib_python.telemetry.logger")
    if not hasattr(loaded, "SensitiveDataMasker"):  # Or only half imported, by another thread.
        runtime = Path(str(sys.modules["ai_lib_python"].__file__)).parent
        # A name that no other thread uses: two calls may be the first to fail.
        name = f"{__package__}._masker_{threading.get_ident()}"
        spec = importlib.util.spec_from_file_location(name, runtime / "telemetry" / "logger.py")
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
