"""One HTTP exchange: the transport stage's span, current while the request is sent."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from time import perf_counter
from typing import Any, Final
from urllib.parse import unquote

from opentelemetry.trace import Span, set_span_in_context
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import naming, semconv
from opentelemetry_instrumentation_ailib.attempts import end_attempt
from opentelemetry_instrumentation_ailib.context import attach, current, detach
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.masking import clean_text, held
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.quiet import exposed, in_url, without_http_spans
from opentelemetry_instrumentation_ailib.stream_state import TRANSPORT, StreamState
from opentelemetry_instrumentation_ailib.telemetry import end_stage

_REQUEST_IDS: Final = ("x-request-id", "request-id")


class Exchange:
    """The span of one HTTP exchange inside an operation.

    Args:
        operation: The operation it belongs to.
        began: When it began (``perf_counter`` seconds).
        transport: The runtime's ``HttpTransport``.
        method: The HTTP method.
        path: The path as the runtime asks for it.

    Attributes:
        context: The context to send the request in.
        error: The type of the error that it was answered with, if it was.
    """

    __slots__ = ("_attributes", "_kind", "_operation", "_span", "context", "error")

    def __init__(self, operation: Operation, began: float, transport: Any, method: str, path: str) -> None:
        base_url = str(transport._base_url)
        self._operation = operation
        self._kind = operation.attempts.begin()
        operation.stage = semconv.HTTP_TRANSPORT
        operation.conceal(held(transport))
        self._span = self._start_span(began, base_url, method, path) if operation.recorded else None
        context = operation.context if self._span is None else set_span_in_context(self._span, operation.context)
        self.context = without_http_spans(context) if exposed(transport) else context
        self._attributes: dict[str, AttributeValue] = {}
        self.error: str | None = None

    @guarded
    def _start_span(self, began: float, base_url: str, method: str, path: str) -> Span | None:
        # By itself, since what keeps a credential out of an HTTP client's span must not depend on a span of ours.
        operation, attributes = self._operation, _described(base_url, method, path)
        if any(in_url(base_url, secret) for secret in operation.secrets):
            known = clean_text(str(attributes[semconv.URL_PATH]), operation.secrets)
            if any(secret in unquote(known) for secret in operation.secrets):
                known = clean_text(unquote(known), operation.secrets)  # It may be escaped in a way of its own.
            attributes = {**attributes, semconv.URL_PATH: known}
        if self._kind != semconv.INITIAL:
            attributes = {**attributes, semconv.HTTP_REQUEST_RESEND_COUNT: operation.attempts.resends}
        start_time = operation.began.at(began)
        return operation.telemetry.start_stage(semconv.HTTP_TRANSPORT, operation.context, attributes, start_time)

    def attach(self) -> object | None:
        """Enter its context; return what leaves it, or ``None`` where it is the operation's, which is entered."""
        return None if self.context is self._operation.context else attach(self.context)

    def note(self, response: Any) -> None:
        """Take status code and request id from an ``httpx.Response`` or the runtime's ``RemoteError``."""
        if isinstance(response, BaseException):
            self.error = naming.failure_type(response)
        if self._span is None:
            return
        status_code = getattr(response, "status_code", None)
        if isinstance(status_code, int):
            self._attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = status_code
        headers = getattr(response, "headers", None)
        request_id = getattr(response, "request_id", None) if headers is None else _request_id(headers)
        known = naming.text(request_id)
        if known is not None:
            self._attributes[semconv.PROVIDER_REQUEST_ID] = clean_text(known, self._operation.secrets)

    def end(self, ended: float, error: str | None = None, *, busy: float | None = None) -> None:
        """End the span and count the attempt.

        Args:
            ended: When it ended (``perf_counter`` seconds).
            error: The error type, if the exchange failed.
            busy: Exclusive time in seconds, for streams.
        """
        if self._span is not None:
            if busy is not None:
                self._attributes[semconv.BUSY_TIME] = busy
            end_time = self._operation.began.at(ended)
            end_stage(self._span, error=error, attributes=self._attributes, end_time=end_time)
        end_attempt(self._operation, self._kind, error)


@lru_cache(maxsize=256)
def _described(base_url: str, method: str, path: str) -> Mapping[str, AttributeValue]:
    address, port = naming.server(base_url)
    attributes: dict[str, AttributeValue] = {
        semconv.HTTP_REQUEST_METHOD: method,
        semconv.URL_PATH: naming.url_path(base_url, path),
    }
    if address is not None:
        attributes[semconv.SERVER_ADDRESS] = address
    if port is not None:
        attributes[semconv.SERVER_PORT] = port
    return attributes


@guarded
def begin_exchange(
    operation: Operation, began: float, transport: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Exchange:
    """Begin the exchange of a request.

    Args:
        operation: The operation it belongs to.
        began: When it began (``perf_counter`` seconds).
        transport: The runtime's ``HttpTransport``.
        args: The arguments of its method, first of all the HTTP method and the path.
        kwargs: Those by name.
    """
    if operation.entered is not None:
        operation.leave()  # Where nothing else says that the request is compiled, this does.
    if operation.queued is not None:
        operation.dequeue()
    if len(args) < 2:
        args = (*args, *(kwargs[name] for name in ("method", "path") if name in kwargs))
    method, path = args[:2]
    return Exchange(operation, began, transport, str(method), str(path))


def _request_id(headers: Any) -> Any:
    # Most answers have neither, and to get what is not there takes httpx an exception.
    return next(filter(None, (headers[name] for name in _REQUEST_IDS if name in headers)), None)


def enter(exchange: Exchange | None, transport: Any) -> object | None:
    """Enter the context to send a request in; return what leaves it.

    Args:
        exchange: The exchange; ``None`` for a fault of ours, which must not tell the credential either.
        transport: The runtime's ``HttpTransport``.
    """
    if exchange is not None:
        return exchange.attach()
    return attach(without_http_spans(current())) if exposed(transport) else None


end_exchange = guarded(Exchange.end)
note_answer = guarded(Exchange.note)


class StreamExchange(AbstractAsyncContextManager[Any]):
    """The runtime's context manager around a streamed response, timed.

    The span ends with the stream, not with the context manager, which after a ``break`` gets closed in another task.

    Args:
        manager: The runtime's own.
        operation: The operation that streams.
        state: Where the stream notes what passes.
        request: The runtime's transport, and the arguments of its method, by position and by name.
    """

    __slots__ = ("_manager", "_operation", "_request", "_state")

    def __init__(
        self,
        manager: Any,
        operation: Operation,
        state: StreamState,
        request: tuple[Any, tuple[Any, ...], dict[str, Any]],
    ) -> None:
        self._manager = manager
        self._operation: Operation | None = operation
        self._state = state
        self._request: Any = request

    async def __aenter__(self) -> Any:
        state, clock, entered = self._state, self._state.clock, perf_counter()
        clock.compile = entered - clock.started - clock.exchange  # The exchanges of earlier attempts.
        state.sending = True
        request, operation = self._request, self._operation
        self._request = self._operation = None  # An exception may live long, and refers to this.
        if state.exchange is not None:  # A transport of the user's own asks again.
            end_exchange(state.exchange, entered, state.exchange.error, busy=clock.exchange - state.refused)
            state.refused = clock.exchange
        exchange = state.exchange = None if operation is None else begin_exchange(operation, entered, *request)
        token = enter(exchange, request[0])
        del operation, request
        try:
            response = await self._manager.__aenter__()
        except BaseException as error:
            detach(token, error)
            clock.exchange += perf_counter() - entered
            clock.fail(TRANSPORT)
            if exchange is not None:
                note_answer(exchange, error)
            del exchange, token
            raise
        detach(token)
        clock.exchange += perf_counter() - entered
        if exchange is not None:
            note_answer(exchange, response)
        return response

    async def __aexit__(self, *exception: Any) -> Any:
        entered = perf_counter()
        result = await self._manager.__aexit__(*exception)
        self._state.clock.exchange += perf_counter() - entered
        return result
