"""Spans that users open with the runtime's ``Tracer.span``, as spans of the OpenTelemetry trace.

The runtime's span and its twin have the same ids, so that either can be found by the other's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from opentelemetry.context import create_key, get_value, set_value
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    get_tracer,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import masking, naming
from opentelemetry_instrumentation_ailib.collected import call_unlocked, closes
from opentelemetry_instrumentation_ailib.context import attach, detach
from opentelemetry_instrumentation_ailib.documented.current import CURRENT
from opentelemetry_instrumentation_ailib.documented.pipe import pipe_of
from opentelemetry_instrumentation_ailib.documented.runtime_exporter import runtime_context
from opentelemetry_instrumentation_ailib.guard import guarded

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
Target = Callable[..., Any]

_MAX_TEXT: Final = 1024
_MAX_ITEMS: Final = 256
_EXCEPTION_MESSAGE: Final = "exception.message"


_ABOVE: Final = create_key(__name__)


@dataclass
class _Twin:
    # Without an SDK there is none.
    span: Span | None
    token: Any


def _twin_tracer(tracer: Any) -> Tracer | None:
    pipe = pipe_of(tracer)
    if pipe is not None:
        return pipe.tracer(tracer.name)
    active = CURRENT.round
    return None if active is None else get_tracer(tracer.name, tracer_provider=active.tracer_provider)


@contextmanager
def joined(tracer: Any, wrapped: Target, args: Arguments, kwargs: Keywords) -> Iterator[Any]:
    """Run the runtime's ``Tracer.span`` with a twin of its span, current while it is.

    Args:
        tracer: The runtime's ``Tracer``.
        wrapped: Its method.
        args: The arguments.
        kwargs: The others.
    """
    twin = span = None
    closed = False
    try:
        with wrapped(*args, **kwargs) as span:
            twin = _open(tracer, span)
            try:
                yield span
            except BaseException as error:
                closed = closes(error)
                detach(twin and twin.token, error)
                raise
            detach(twin and twin.token)
    finally:
        if closed:  # The runtime's span, which a garbage collection closes, may leave with another exception.
            call_unlocked(partial(_close, twin, span))
        else:
            _close(twin, span)


@guarded
def _open(tracer: Any, span: Any) -> _Twin | None:
    source = _twin_tracer(tracer) if is_instrumentation_enabled() else None
    if source is None:
        return None
    parent = get_current_span().get_span_context()
    twin = source.start_span(
        _name(span.name),
        kind=SpanKind[_value_of(span.kind)],
        attributes=_attributes(span.attributes),
        start_time=int(span.start_time * 1e9),
    )
    context = twin.get_span_context()
    if not context.is_valid:
        return None
    if context.span_id == parent.span_id:
        # Without an SDK there is no span but the parent. The runtime's spans are below it, and then below each other.
        return _Twin(None, attach(set_value(_ABOVE, parent.span_id)))
    above = set_span_in_context(twin)
    if span.parent_context is not None and (not parent.is_valid or get_value(_ABOVE) == parent.span_id):
        # It is below one that is older than the instrumentation, and so is what will be below it.
        above = set_value(_ABOVE, context.span_id, above)
    else:
        span.context = runtime_context(context)
        span.parent_context = runtime_context(parent) if parent.is_valid else None
    return _Twin(twin, attach(above))


@guarded
def _close(twin: _Twin | None, span: Any) -> None:
    if twin is None or twin.span is None:
        return
    _note(twin.span, span)
    twin.span.end(None if span.end_time is None else int(span.end_time * 1e9))


@guarded
def _note(twin: Span, span: Any) -> None:
    status = StatusCode[_value_of(span.status)]
    twin.set_status(Status(status, _text(span.status_message) if status is StatusCode.ERROR else None))
    twin.set_attributes(_attributes(span.attributes))
    for event in span.events:
        twin.add_event(_name(event.name), _attributes(event.attributes), int(event.timestamp * 1e9))


def _value_of(member: Any) -> str:
    # The runtime's enumerations are strings, and so are taken for them.
    return str(getattr(member, "value", member))


def _attributes(attributes: Any) -> dict[str, AttributeValue]:
    return dict(filter(None, (_attribute(key, value) for key, value in attributes.items() if value is not None)))


@guarded
def _attribute(key: Any, value: Any) -> tuple[str, AttributeValue]:
    return _name(key), _value(key, value)  # Which ask objects of the application's for their text.


def _value(key: Any, value: Any) -> AttributeValue:
    if isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, (list, tuple)):
        return list(map(_name, islice(value, _MAX_ITEMS)))
    return _text(str(value)) if key == _EXCEPTION_MESSAGE else _name(value)


def _name(said: Any) -> str:
    return naming.bounded(str(_beginning(said, iter(range(_MAX_ITEMS)))), _MAX_TEXT)


def _beginning(value: Any, room: Iterator[int]) -> Any:
    # Of all that somebody notes, be it a whole corpus, the text would take as long as there is of it.
    if type(value) in (str, bytes, bytearray):
        return value[:_MAX_TEXT]
    if type(value) is dict:
        return {key: _beginning(each, room) for _, (key, each) in zip(room, value.items(), strict=False)}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_beginning(each, room) for _, each in zip(room, value, strict=False))
    return value


def _text(message: str) -> str:
    return masking.masked(message, _MAX_TEXT)


def start_span(wrapped: Target, args: Arguments, kwargs: Keywords) -> Any:
    """Run the runtime's ``Tracer.start_span`` with the span that is current in OpenTelemetry for a parent.

    Args:
        wrapped: The method.
        args: The arguments.
        kwargs: The others.
    """
    return wrapped(*args, **(_with_parent(wrapped, args, kwargs) or kwargs))


@guarded
def _with_parent(wrapped: Any, args: Arguments, kwargs: Keywords) -> Keywords | None:
    current = get_current_span().get_span_context()
    # name, kind, parent
    if len(args) > 2 or kwargs.get("parent") is not None or not current.is_valid or not is_instrumentation_enabled():
        return None
    if get_value(_ABOVE) == current.span_id:
        return None  # A span of the runtime's is open below it.
    return {**kwargs, "parent": runtime_context(current)}
