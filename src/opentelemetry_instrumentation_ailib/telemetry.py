"""The bundle that every wrapper gets."""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import Span, StatusCode, Tracer, TracerProvider, get_tracer
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import cost, semconv
from opentelemetry_instrumentation_ailib.cardinality import Labels
from opentelemetry_instrumentation_ailib.config import Config
from opentelemetry_instrumentation_ailib.content import Content
from opentelemetry_instrumentation_ailib.fields import Answer
from opentelemetry_instrumentation_ailib.listeners import Listeners
from opentelemetry_instrumentation_ailib.live import LiveComponents
from opentelemetry_instrumentation_ailib.metrics import Instruments
from opentelemetry_instrumentation_ailib.version import __version__

SCOPE = "opentelemetry_instrumentation_ailib"

_BUNDLE = create_key(__name__)
_OWN: Final = "_ai_lib_bundle"
_STAGES: Final[dict[str, Mapping[str, AttributeValue]]] = {stage: {semconv.STAGE: stage} for stage in semconv.STAGES}

# Gets the operation, its answer, its error type and its duration in seconds.
Observer = Callable[[Any, Answer, str | None, float], None]
Hook = Callable[[Span, Any], None]


class Moment(NamedTuple):
    """A point in time, on the clock that measures and on the one that dates.

    Attributes:
        seconds: ``perf_counter`` seconds.
        epoch: Nanoseconds since the epoch.
    """

    seconds: float
    epoch: int

    def after(self, seconds: float) -> int:
        """Return when so many seconds had passed, in nanoseconds since the epoch; never before this moment."""
        return self.epoch + int(max(seconds, 0.0) * 1e9)

    def at(self, seconds: float) -> int:
        """Return the date of a later reading of ``perf_counter``, in nanoseconds since the epoch.

        It goes by the seconds since this moment, since the clock that dates gets set in the meantime.
        """
        return self.after(seconds - self.seconds)


def elapsed(began: float) -> float:
    """Return the seconds since a reading of ``perf_counter``; never less than none, whatever replaced the clock."""
    return max(time.perf_counter() - began, 0.0)


def now() -> Moment:
    """Return the present moment."""
    return Moment(time.perf_counter(), time.time_ns())


class _Own:
    """What a client keeps of its bundle. Copies of the client have none, and whoever unpickles one needs none of it."""

    __slots__ = ("__weakref__", "bundle", "client")

    def __init__(self, client: Any, bundle: Telemetry) -> None:
        self.client = weakref.ref(client)
        self.bundle: Telemetry | None = bundle

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(None), ()


class Bundles:
    """Bundles by client. Each is kept by its client, to which a collector in it may lead back: so both can go.

    Attributes:
        given: Whether any client has had one.
    """

    __slots__ = ("_known", "_over", "given")

    def __init__(self) -> None:
        self._known: weakref.WeakSet[_Own] = weakref.WeakSet()
        self._over = self.given = False

    def __setitem__(self, client: Any, bundle: Telemetry) -> None:
        if not self._over:
            own = vars(client)[_OWN] = _Own(client, bundle)
            self._known.add(own)
            self.given = True

    def get(self, client: Any) -> Telemetry | None:
        """Return the bundle that a client has of its own, if it has one."""
        own = getattr(client, "__dict__", {}).get(_OWN)
        return own.bundle if own is not None and own.client() is client else None

    def close(self) -> None:
        """Take the bundles from their clients, and give no more."""
        self._over = True
        for own in list(self._known):
            own.bundle, client = None, own.client()
            if client is not None and vars(client).get(_OWN) is own:
                del vars(client)[_OWN]


@dataclass(frozen=True)
class Telemetry:
    """Everything a wrapper needs to record.

    Attributes:
        tracer: Makes the spans.
        instruments: Take the measurements.
        components: The resilience components that are alive.
        config: What the user chose.
        content: Where the messages of calls go.
        listeners: Whether anyone collects any of it.
        labels: What of the names from outside may be a label.
        clients: The bundles of clients that have one of their own.
        collectors: Who gets the measurements besides.
        observers: Called with every operation that was heard and has ended, its answer, its error type and its
            duration in seconds.
        outcomes: Called with every operation that has ended, heard or not, its error type and what made it fail.
        accountants: Called with every operation that has ended and whose statistics its caller gets, and its answer.
        identified: Called with every operation whose call statistics have become known.
        request_hook: Called with an operation's span and its request when the span has started.
        response_hook: Called with an operation's span and its response before the span ends.
    """

    tracer: Tracer
    instruments: Instruments
    components: LiveComponents
    config: Config
    content: Content
    listeners: Listeners = field(default_factory=lambda: Listeners(measured=True))
    labels: Labels = field(default_factory=Labels)
    clients: Bundles = field(default_factory=Bundles)
    collectors: tuple[Any, ...] = ()
    observers: tuple[Observer, ...] = ()
    outcomes: tuple[Callable[[Any, str | None, BaseException | str | None], None], ...] = ()
    accountants: tuple[Callable[[Any, Answer], None], ...] = ()
    identified: tuple[Callable[[Any], None], ...] = ()
    request_hook: Hook | None = None
    response_hook: Hook | None = None

    @classmethod
    def build(
        cls,
        config: Config,
        components: LiveComponents,
        content: Content,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        request_hook: Hook | None = None,
        response_hook: Hook | None = None,
    ) -> Telemetry:
        """Assemble the bundle; a provider that is ``None`` is the global one."""
        meter = get_meter(SCOPE, __version__, meter_provider, semconv.SCHEMA_URL)
        components.observe(meter, meter_provider)
        return cls(
            tracer=get_tracer(SCOPE, __version__, tracer_provider, semconv.SCHEMA_URL),
            instruments=Instruments(meter),
            components=components,
            config=config,
            content=content,
            listeners=Listeners(tracer_provider, meter_provider, certain=content.wanted or content.emits),
            request_hook=request_hook,
            response_hook=response_hook,
        )

    def of(self, client: Any) -> Telemetry:
        """Return the bundle for the calls of a client: its own, if it has one, or this."""
        return (self.clients.get(client) if self.clients.given else None) or self

    def prevailing(self) -> Telemetry:
        """Return the bundle of the client that is being created in the current context, if it has one, or this."""
        bundle = get_value(_BUNDLE)
        return bundle if isinstance(bundle, Telemetry) else self

    def within(self) -> Context:
        """Return the current context with this bundle as the one that prevails there."""
        return set_value(_BUNDLE, self)

    @functools.cached_property
    def pricer(self) -> cost.Pricer | None:
        """What prices calls, where the extra ``cost`` is installed. To ask for it first takes a while."""
        return cost.load()

    def start_stage(
        self,
        stage: str,
        context: Context,
        attributes: Mapping[str, AttributeValue] | None = None,
        start_time: int | None = None,
    ) -> Span | None:
        """Start a stage's span, or return ``None`` where the user switched the stage's spans off.

        Args:
            stage: One of ``semconv.STAGES``.
            context: The context of the operation, or the current one outside of any.
            attributes: What is known of it besides.
            start_time: Nanoseconds since the epoch; now, if ``None``.
        """
        if stage not in self.config.stages:
            return None
        known: Mapping[str, AttributeValue] = _STAGES[stage]
        if attributes:
            known = {**known, **attributes}
        return self.tracer.start_span(
            semconv.SPAN_NAMES[stage], context=context, attributes=known, start_time=start_time
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
