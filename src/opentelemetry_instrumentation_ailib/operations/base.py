"""One wrapper for operations that are coroutines, one for those that are streams."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import naming, semconv
from opentelemetry_instrumentation_ailib.collected import closes, unlocked
from opentelemetry_instrumentation_ailib.context import attach, current, detach
from opentelemetry_instrumentation_ailib.coroutines import Call, around, named_like
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.masking import credentials, held
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.patching import Wrapper
from opentelemetry_instrumentation_ailib.quiet import in_url, without_http_spans
from opentelemetry_instrumentation_ailib.streaming import observed
from opentelemetry_instrumentation_ailib.telemetry import Telemetry, elapsed

EXPLICIT: Final = "explicit"
"""The provider of a client that was made without a manifest, as the runtime calls it since 1.2.0."""

Begin = Callable[[Telemetry, Any, tuple[Any, ...], dict[str, Any]], Operation | None]
Finish = Callable[[Operation, Any], None]


def begin_operation(
    telemetry: Telemetry, client: Any, name: str, *, model: Any, request: Any, attributes: dict[str, AttributeValue]
) -> Operation:
    """Open the operation of a client that makes its requests in one method, and enter its first stage.

    Args:
        telemetry: The bundle.
        client: One of the runtime's clients besides ``AiClient``.
        name: ``gen_ai.operation.name``.
        model: The model, without its provider.
        request: The arguments of the call by name, for the request hook.
        attributes: What they say, by the names of the conventions.
    """
    # Before 1.2.0 most of these clients have an httpx client of their own for each call: one exchange, which nobody
    # else can see.
    transport = getattr(client, "_transport", None)
    # A transport of the user's own may have neither a manifest nor an address.
    manifest = getattr(client, "_manifest", None) or getattr(transport, "_manifest", None)
    base_url = str(getattr(client if transport is None else transport, "_base_url", ""))
    telemetry = telemetry.of(client)
    operation = Operation(
        telemetry,
        name=name,
        provider_id=naming.text(getattr(manifest, "id", None)) or EXPLICIT,
        model=naming.text(model) or "",
        base_url=base_url,
        request=request,
        describe=lambda: attributes,
        heard=telemetry.listeners.present(),
        secrets=credentials(base_url, client._api_key) if transport is None else held(transport),
    )
    if transport is None:
        if not str(client._api_key).isprintable() or in_url(base_url, str(client._api_key)):
            operation.context = without_http_spans(operation.context)  # As an exchange does.
        operation.unseen = operation.attempts.begin()
        operation.stage = semconv.HTTP_TRANSPORT  # As far as anyone can tell.
    else:
        operation.enter(semconv.REQUEST_COMPILE)
    return operation


def named(parameters: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name.

    Args:
        parameters: The names, in order.
        args: The positional ones.
        kwargs: The others.
    """
    return {**dict(zip(parameters, args, strict=False)), **kwargs}


def call(begin: Begin, finish: Finish) -> Callable[[Telemetry], Wrapper]:
    """Instrument a coroutine function.

    Args:
        begin: Opens the operation from instance and arguments; ``None`` from it leaves the call alone.
        finish: Ends the operation with the call's result.
    """
    begin, finish = guarded(begin), guarded(finish)

    async def observe(
        telemetry: Telemetry, call: Call, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        enabled = not current() or is_instrumentation_enabled()
        operation = begin(telemetry, instance, args, kwargs) if enabled else None
        if operation is None:
            return await call.take()
        token = attach(operation.context)
        try:
            result = await call.take()
        except BaseException as error:
            detach(token, error)
            # What is closed may have to wait for a lock until it can say so.
            lasted = elapsed(operation.began.seconds) if closes(error) else None
            _end(operation, error=error, duration=lasted)
            del operation, token  # The exception may live long, and refers to this frame.
            raise
        detach(token)
        try:
            finish(operation, result)
        finally:  # For a fault of ours, and where a signal interrupts.
            if not operation.ended:
                operation.end()
        return result

    return lambda telemetry: around(partial(observe, telemetry))


_end = unlocked(Operation.end)


def stream(begin: Begin) -> Callable[[Telemetry], Wrapper]:
    """Instrument a function that returns an asynchronous iterator of events.

    Args:
        begin: Opens the operation when the first event is asked for; ``None`` from it leaves the stream alone.
    """
    begin = guarded(begin)

    def build(telemetry: Telemetry) -> Wrapper:
        def run(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            events = wrapped(*args, **kwargs)
            return named_like(events, observed(events, begin, (telemetry, instance, args, kwargs)))

        return run

    return build
