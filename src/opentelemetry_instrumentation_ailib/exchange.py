"""One HTTP exchange: the transport stage's span, current while the request is sent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import Any

from opentelemetry.context import Context, attach, get_current
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
from opentelemetry.trace import Span, set_span_in_context
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import naming, semconv
from opentelemetry_instrumentation_ailib.attempts import end_attempt
from opentelemetry_instrumentation_ailib.guard import detach, guarded
from opentelemetry_instrumentation_ailib.masking import clean_text, credentials
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.stream_state import TRANSPORT, StreamState
from opentelemetry_instrumentation_ailib.telemetry import end_stage

_end_attempt = guarded(end_attempt)


class Exchange:
    """The span of one HTTP exchange inside an operation.

    Args:
        operation: The operation it belongs to.
        transport: The runtime's ``HttpTransport``.
        method: The HTTP method.
        path: The path as the runtime asks for it.

    Attributes:
        context: The context to send the request in.
    """

    def __init__(self, operation: Operation, transport: Any, method: str, path: str) -> None:
        base_url = str(transport._base_url)
        self._operation = operation
        self._kind = operation.attempts.begin()
        operation.stage = semconv.HTTP_TRANSPORT
        operation.secrets.update(credentials(base_url, transport._credential.secret))
        self._span = self._start_span(base_url, method, path) if operation.recorded else None
        context = operation.context if self._span is None else set_span_in_context(self._span, operation.context)
        # Of a header that cannot be sent the error has the text.
        sendable = all(str(value).isprintable() for value in transport._auth_headers.values())
        exposed = transport._auth_query_params or not sendable
        self.context = without_http_spans(context) if exposed else context
        self._attributes: dict[str, AttributeValue] = {}

    @guarded
    def _start_span(self, base_url: str, method: str, path: str) -> Span | None:
        # By itself, since what keeps a credential out of an HTTP client's span must not depend on a span of ours.
        operation = self._operation
        address, port = naming.server(base_url)
        attributes: dict[str, AttributeValue] = {
            semconv.HTTP_REQUEST_METHOD: method,
            semconv.URL_PATH: naming.url_path(base_url, path),
        }
        if address is not None:
            attributes[semconv.SERVER_ADDRESS] = address
        if port is not None:
            attributes[semconv.SERVER_PORT] = port
        if self._kind != semconv.INITIAL:
            attributes[semconv.HTTP_REQUEST_RESEND_COUNT] = operation.attempts.resends
        began = operation.began.later().epoch
        return operation.telemetry.start_stage(semconv.HTTP_TRANSPORT, operation.context, attributes, began)

    def note(self, response: Any) -> None:
        """Take status code and request id from an ``httpx.Response`` or the runtime's ``RemoteError``."""
        status_code = getattr(response, "status_code", None)
        if isinstance(status_code, int):
            self._attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = status_code
        headers = getattr(response, "headers", None)
        request_id = getattr(response, "request_id", None) if headers is None else _request_id(headers)
        known = naming.text(request_id)
        if known is not None:
            self._attributes[semconv.PROVIDER_REQUEST_ID] = clean_text(known, self._operation.secrets)

    def end(self, error: str | None = None, *, busy: float | None = None, end_time: int | None = None) -> None:
        """End the span and count the attempt.

        Args:
            error: The error type, if the exchange failed.
            busy: Exclusive time in seconds, for streams.
            end_time: Nanoseconds since the epoch; now by default.
        """
        if busy is not None:
            self._attributes[semconv.BUSY_TIME] = busy
        end_stage(self._span, error=error, attributes=self._attributes, end_time=end_time)
        _end_attempt(self._operation, self._kind, error)


def _request_id(headers: Any) -> Any:
    return headers.get("x-request-id") or headers.get("request-id")


def without_http_spans(context: Context) -> Context:
    """Return a context in which an HTTP client's instrumentation records nothing.

    It would record the URL, and the credential is in the query string.
    """
    token = attach(context)
    try:
        with suppress_http_instrumentation():
            return get_current()
    finally:
        detach(token)


class QuietEntry(AbstractAsyncContextManager[Any]):
    """The runtime's context manager around a streamed response, entered where no HTTP client's spans are recorded.

    Args:
        manager: The runtime's own.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def __aenter__(self) -> Any:
        token = attach(without_http_spans(get_current()))
        try:
            response = await self._manager.__aenter__()
        except BaseException as error:
            detach(token, error)
            raise
        detach(token)
        return response

    async def __aexit__(self, *exception: Any) -> Any:
        return await self._manager.__aexit__(*exception)


end_exchange = guarded(Exchange.end)
_note = guarded(Exchange.note)


class StreamExchange(AbstractAsyncContextManager[Any]):
    """The runtime's context manager around a streamed response, timed.

    The span ends with the stream, not with the context manager, which after a ``break`` gets closed in another task.

    Args:
        manager: The runtime's own.
        operation: The operation that streams.
        state: Where the stream notes what passes.
        begin: Opens the exchange.
    """

    def __init__(
        self, manager: Any, operation: Operation, state: StreamState, begin: Callable[[], Exchange | None]
    ) -> None:
        self._manager = manager
        self._operation = operation
        self._state = state
        self._begin = begin

    async def __aenter__(self) -> Any:
        state, clock, entered = self._state, self._state.clock, perf_counter()
        clock.compile = entered - clock.started - clock.exchange  # The exchanges of earlier attempts.
        state.sending = True
        exchange = state.exchange = self._begin()
        token = attach(self._operation.context if exchange is None else exchange.context)
        try:
            response = await self._manager.__aenter__()
        except BaseException as error:
            detach(token, error)
            clock.exchange += perf_counter() - entered
            clock.fail(TRANSPORT)
            if exchange is not None:
                _note(exchange, error)
            raise
        detach(token)
        clock.exchange += perf_counter() - entered
        if exchange is not None:
            _note(exchange, response)
        return response

    async def __aexit__(self, *exception: Any) -> Any:
        entered = perf_counter()
        result = await self._manager.__aexit__(*exception)
        self._state.clock.exchange += perf_counter() - entered
        return result
