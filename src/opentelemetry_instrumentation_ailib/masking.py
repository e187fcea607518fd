"""Messages of exceptions, fit to leave the process: without credentials, and of bounded length."""

from __future__ import annotations

import base64
import functools
import importlib.util
import json
import re
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote

from opentelemetry_instrumentation_ailib import naming
from opentelemetry_instrumentation_ailib.fields import Answer

_MAX_MESSAGE = 512
MIN_SECRET: Final = 8
"""Shorter credentials are placeholders, and part of many a word."""
# Shorter ones tell nothing: ``sk-``.
_MIN_PIECE = 4
_REDACTED = "***REDACTED***"
_ELLIPSIS = re.compile(r"(\s*\[?(?:\.{3,}|…)\]?\s*)")
_ESCAPED = re.compile("%[0-9A-F]{2}")
_MARKUP = re.compile("[+&<>'`]")
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
    return masked(_without_pieces(beginning(message, known, 4 * _MAX_MESSAGE), known), _MAX_MESSAGE)


def _without_pieces(text: str, secrets: Iterable[str]) -> str:
    """Return a text without the pieces of secrets beside an ellipsis: pydantic, say, abbreviates what it quotes."""
    # Texts and ellipses in turn.
    pieces = _ELLIPSIS.split(text)
    for index in range(0, len(pieces) - 2, 2):
        before, after = pieces[index], pieces[index + 2]
        for secret in secrets:
            longest = min(len(secret) - 1, max(len(before), len(after)))
            for size in range(longest, _MIN_PIECE - 1, -1):
                if before.endswith(secret[:size]):
                    before = before[:-size] + _REDACTED
                if after.startswith(secret[-size:]):
                    after = _REDACTED + after[size:]
        pieces[index], pieces[index + 2] = before, after
    return "".join(pieces)


def masked(text: str, length: int) -> str:
    """Return a text as the runtime's masker leaves it, cut to a length."""
    return naming.bounded(_masker().mask(text[: 4 * length]), length)


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return a text without secrets, given in all their forms."""
    for form in secrets:
        text = text.replace(form, _REDACTED)
    return text


def beginning(text: str, secrets: Sequence[str], length: int) -> str:
    """Return the beginning of a text without secrets, of which no more is looked at than that takes.

    Args:
        text: The text, as long as it may be.
        secrets: In all their forms.
        length: How many characters are wanted.
    """
    # Where more follows, what ends a piece may be the beginning of a secret, with shorter ones in it.
    margin = len(_REDACTED) * max(map(len, secrets), default=0)
    seen = length + margin
    while True:
        known = redacted(text[:seen], secrets)
        if seen >= len(text) or len(known) >= length + margin:
            return known[:length]
        seen *= 2


def credentials(base_url: str, credential: str | None) -> tuple[str, ...]:
    """Return what a request says to be let in.

    Args:
        base_url: Where it goes, perhaps with a password.
        credential: The provider's.
    """
    said = [credential]
    # Without a parser: what it makes of a bracket in a password is an exception that quotes it.
    found = naming.USER.search(base_url) if "@" in base_url else None
    if found is not None:
        user, _, password = map(unquote, found[1].partition(":"))
        if password or len(user) >= MIN_SECRET:
            said += [f"{user}:{password}", password or user]
    return tuple(filter(None, said))


def held(transport: Any) -> tuple[str, ...]:
    """Return what the requests of one of the runtime's transports say to be let in, or of one of the user's own."""
    base_url, credential = getattr(transport, "_base_url", ""), getattr(transport, "_credential", None)
    return credentials(str(base_url), getattr(credential, "secret", None))


def clean(answer: Answer, secrets: Iterable[str]) -> Answer:
    """Return what a provider says about its answer without the credentials that it may quote in there."""
    known = []
    said = "\n".join(filter(None, (answer.id, answer.model, *answer.finish_reasons)))
    for secret in secrets:
        # A placeholder (``none``, ``test``) is no secret, and part of many a name.
        if len(secret) >= MIN_SECRET and max(_WORDS.findall(secret), key=len, default="") in said:
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
    return redacted(text, forms(*(secret for secret in secrets if len(secret) >= MIN_SECRET)))


def forms(*secrets: str) -> list[str]:
    """Return the forms in which a text may quote secrets: in a URL, in a header, in Python, in JSON, in JSON in JSON.

    The longest come first, since one may contain another.
    """
    return sorted({form for secret in secrets if secret for form in _forms(secret)}, key=len, reverse=True)


def _forms(secret: str) -> tuple[str, ...]:
    quoted = quote(secret), quote(secret, safe=""), quote_plus(secret)
    written = _json(secret)
    return (
        secret,
        base64.b64encode(secret.encode("utf-8", "replace")).decode().rstrip("="),
        *quoted,
        *(_ESCAPED.sub(lambda escaped: escaped.group().lower(), form) for form in quoted),
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        *written,
        *(twice for once in written for twice in _json(once)),
    )


def _json(text: str) -> tuple[str, ...]:
    plain = json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
    # PHP escapes slashes, and .NET what means something in HTML.
    shown = _MARKUP.sub(lambda character: f"\\u{ord(character.group()):04X}", plain[0])
    return *plain, *(written.replace("/", "\\/") for written in plain), shown, shown.replace("/", "\\/")


@functools.lru_cache(maxsize=1)
def _masker() -> Any:
    """Load the runtime's masker at the first failure, from its file alone.

    Importing it would import the runtime's telemetry package, which most applications do not, and hold up the call that
    fails first by twenty times as long.
    """
    loaded: Any = sys.modules.get("ai_lib_python.telemetry.logger")
    if not hasattr(loaded, "SensitiveDataMasker"):  # Or only half imported, by another thread.
        # It need not be imported yet.
        package = importlib.util.find_spec("ai_lib_python")
        runtime = Path(str(package and package.origin)).parent
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
