"""The bundle that every wrapper gets, and the guard that keeps our faults to ourselves."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import time
from collections.abc import Callable
from contextvars import Token
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import Span, StatusCode, Tracer, TracerProvider, get_tracer
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.config import Config
from opentelemetry_instrumentation_ailib.metrics import Instruments
from opentelemetry_instrumentation_ailib.version import __version__

_logger = logging.getLogger(__name__)

SCOPE = "opentelemetry_instrumentation_ailib"

P = ParamSpec("P")
R = TypeVar("R")

Hook = Callable[[Span, Any], None]


def report_fault(site: str, *, first: bool) -> None:
    """Log the first fault of ours at a site, with its traceback. The tests replace this by one that lets it through."""
    if first:
        message = "Telemetry of ai-lib-python is incomplete: a fault in %s (reported once)"
        _logger.warning(message, site, exc_info=sys.exc_info())


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """Make a function of ours unable to raise: a fault is logged, once for each function, and the result is ``None``.

    The runtime answers exceptions with retries and fallback models, so one of ours would change what a call does.
    """
    reported = False

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        nonlocal reported
        try:
            return function(*args, **kwargs)
        except Exception:
            report_fault(f"{function.__module__}.{function.__qualname__}", first=not reported)
            reported = True
            return None

    return call


def detach(token: object, error: BaseException | None = None) -> None:
    """Detach a context.

    A coroutine that gets closed may be closed from another context than it ran in. There the token is worthless, and
    OpenTelemetry would log an error about it.

    Args:
        token: What ``attach`` returned.
        error: The exception that is passing, if any.
    """
    if isinstance(error, GeneratorExit) and isinstance(token, Token):
        with contextlib.suppress(ValueError, RuntimeError):
            token.var.reset(token)
        return
    otel_context.detach(cast("Token[Context]", token))


class Moment(NamedTuple):
    """A point in time, on the clock that measures and on the one that dates.

    Attributes:
        seconds: ``perf_counter`` seconds.
        epoch: Nanoseconds since the epoch.
    """

    seconds: float
    epoch: int


def now() -> Moment:
    """Return the present moment."""
    return Moment(time.perf_counter(), time.time_ns())


@dataclass(frozen=True)
class Telemetry:
    """Everything a wrapper needs to record.

    Attributes:
        tracer: Makes the stage spans.
        handler: Makes the operation spans, the ``gen_ai.client.*`` metrics and the events of the conventions.
        instruments: The ``ai_lib.*`` instruments.
        config: What the user chose.
        request_hook: Called with an operation's span and its request when the span has started.
        response_hook: Called with an operation's span and its response before the span ends.
    """

    tracer: Tracer
    handler: TelemetryHandler
    instruments: Instruments
    config: Config
    request_hook: Hook | None = None
    response_hook: Hook | None = None

    @classmethod
    def build(
        cls,
        config: Config,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger_provider: Any = None,
        completion_hook: Any = None,
        request_hook: Hook | None = None,
        response_hook: Hook | None = None,
    ) -> Telemetry:
        """Assemble the bundle; a provider that is ``None`` is the global one."""
        return cls(
            tracer=get_tracer(SCOPE, __version__, tracer_provider, semconv.SCHEMA_URL),
            handler=TelemetryHandler(
                tracer_provider=tracer_provider,
                meter_provider=meter_provider,
                logger_provider=logger_provider,
                completion_hook=completion_hook,
                instrumentation_scope_name=SCOPE,
                instrumentation_scope_version=__version__,
            ),
            instruments=Instruments(get_meter(SCOPE, __version__, meter_provider, semconv.SCHEMA_URL)),
            config=config,
            request_hook=request_hook,
            response_hook=response_hook,
        )

    def start_stage(
        self, stage: str, context: Context, attributes: dict[str, AttributeValue], start_time: int | None = None
    ) -> Span | None:
        """Start a stage's span, or return ``None`` where the user switched the stage's spans off.

        Args:
            stage: One of ``semconv.STAGES``.
            context: The context of the operation, or the current one outside of any.
            attributes: What is known at the start.
            start_time: Nanoseconds since the epoch; now, if ``None``.
        """
        if stage not in self.config.stages:
            return None
        return self.tracer.start_span(
            semconv.SPAN_NAMES[stage],
            context=context,
            attributes={semconv.STAGE: stage, **attributes},
            start_time=start_time,
        )


def end_stage(
    span: Span | None,
    *,
    error: str | None = None,
    attributes: dict[str, AttributeValue] | None = None,
    end_time: int | None = None,
) -> None:
    """End a stage's span, with an error status where there is an error type."""
    if span is None:
        return
    if attributes:
        span.set_attributes(attributes)
    if error is not None:
        span.set_status(StatusCode.ERROR)
        span.set_attribute(semconv.ERROR_TYPE, error)
    span.end(end_time)
