"""Requests of which an HTTP client's instrumentation must not tell, since what it records has the credential in it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import unquote

from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import suppress_http_instrumentation

from opentelemetry_instrumentation_ailib.context import attach, current, detach
from opentelemetry_instrumentation_ailib.masking import MIN_SECRET


def exposed(transport: Any) -> bool:
    """Return whether an HTTP client's span would tell the credential: in the URL, or in the error about a header.

    Args:
        transport: The runtime's ``HttpTransport``.
    """
    try:
        if transport._auth_query_params or not "".join(map(str, transport._auth_headers.values())).isprintable():
            return True
        secret = getattr(getattr(transport, "_credential", None), "secret", None)
        return in_url(str(transport._base_url), secret)
    except Exception:
        return True  # Where nobody knows, it might.


def in_url(base_url: str, credential: str | None) -> bool:
    """Return whether a URL has a credential in its path, as those of gateways may.

    Args:
        base_url: The URL.
        credential: What is too short for one may be a part of any.
    """
    if credential is None or len(credential) < MIN_SECRET:
        return False
    return credential in base_url or ("%" in base_url and credential in unquote(base_url))


def without_http_spans(context: Context) -> Context:
    """Return a context in which an HTTP client's instrumentation records nothing.

    It would record the URL, and the credential is in there.
    """
    token = attach(context)
    try:
        with suppress_http_instrumentation():
            return current()
    finally:
        detach(token)


async def quietly(call: Any) -> Any:
    """Await the runtime's request where no HTTP client's spans are recorded.

    Args:
        call: The coroutine.
    """
    token = attach(without_http_spans(current()))
    try:
        response = await call
    except BaseException as error:
        detach(token, error)
        del token  # It refers to the caller's context, and the exception to this.
        raise
    detach(token)
    return response


class QuietEntry(AbstractAsyncContextManager[Any]):
    """The runtime's context manager around a streamed response, entered where no HTTP client's spans are recorded.

    Args:
        manager: The runtime's own.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def __aenter__(self) -> Any:
        token = attach(without_http_spans(current()))
        try:
            response = await self._manager.__aenter__()
        except BaseException as error:
            detach(token, error)
            del token  # As above.
            raise
        detach(token)
        return response

    async def __aexit__(self, *exception: Any) -> Any:
        return await self._manager.__aexit__(*exception)
