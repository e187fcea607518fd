"""The resilience components that are alive, for the gauges that are read from them at collection.

Components are known by weak references only: a gauge keeps none of them alive, and reading one changes nothing in it.
"""

from __future__ import annotations

import operator
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter_provider

from opentelemetry_instrumentation_ailib import naming, semconv
from opentelemetry_instrumentation_ailib.cardinality import MAX_EXECUTORS, Bounded
from opentelemetry_instrumentation_ailib.guard import guarded

STANDALONE: Final = "standalone"
"""The ``executor`` label of components that an application uses on their own."""

BREAKER: Final = "_circuit_breaker"
LIMITER: Final = "_rate_limiter"
BACKPRESSURE: Final = "_backpressure"
KINDS: Final = (BREAKER, LIMITER, BACKPRESSURE)
"""The kinds of components, as the attributes of the runtime's executor."""

STATES: Final = ("closed", "half_open", "open")
"""The states of a circuit breaker, the worst last."""

GLOBAL: Final = object()
"""The global meter provider, whichever that comes to be."""


class Component:
    """What is kept for a live component.

    Attributes:
        instance: A weak reference to the runtime's object.
        executor: The name of the executor that it belongs to.
        rejections: How many of a breaker's rejections have been counted.
    """

    __slots__ = ("executor", "instance", "rejections")

    def __init__(self, instance: weakref.ref[Any]) -> None:
        self.instance = instance
        self.executor = STANDALONE
        self.rejections = 0


class LiveComponents:
    """A registry of circuit breakers, rate limiters and back-pressure controls.

    One serves a process for any number of rounds of instrumentation, since a gauge cannot be removed from its meter:
    those of a provider that is not instrumented any more fall silent.
    """

    # Every step on a dictionary is atomic: a lock could be asked for twice by a thread in which the garbage collector
    # runs.

    def __init__(self) -> None:
        self._known: dict[str, dict[int, Component]] = {kind: {} for kind in KINDS}
        self._active: Any = None
        self._names = Bounded(MAX_EXECUTORS)

    def component(self, kind: str, instance: Any) -> Component:
        """Return what is kept for a component, from now on if it is new.

        Args:
            kind: One of ``KINDS``.
            instance: The runtime's object.
        """
        known, key = self._known[kind], id(instance)
        component = known.get(key)
        if component is None:
            component = known[key] = Component(weakref.ref(instance, lambda _: known.pop(key, None)))
            component.rejections = _rejections(instance) or 0
        return component

    def adopt(self, executor: Any) -> None:
        """Give an executor's components its name."""
        name = self._names.label(naming.text(executor.name) or STANDALONE)
        for kind in KINDS:
            instance = getattr(executor, kind, None)
            if instance is not None:
                self.component(kind, instance).executor = name

    def new_rejections(self, breaker: Any) -> tuple[int, str]:
        """Return how many requests a breaker has refused since it was last asked, and its executor's name."""
        component = self.component(BREAKER, breaker)
        before, component.rejections = component.rejections, _rejections(breaker) or 0
        return component.rejections - before, component.executor

    def observe(self, meter: Meter, provider: Any) -> None:
        """Create the gauges, and let them be the ones that speak.

        Args:
            meter: The meter of this instrumentation's scope.
            provider: The meter provider that it comes from; ``None`` for the global one.
        """
        # By provider: the SDK keeps the callbacks of the first gauge of a name, and gives no two meters for a scope.
        active = self._active = GLOBAL if provider is None else provider
        self._names = Bounded(MAX_EXECUTORS)
        for breaker, _ in self.alive(BREAKER):
            self.new_rejections(breaker)  # Those of the time in between are not this round's.
        for name, unit, description, read in (
            (semconv.CIRCUIT_BREAKER_STATE, "{state}", "1 for the state a circuit breaker is in", self._states),
            (semconv.RATE_LIMITER_AVAILABLE, "{permit}", "Permits that a rate limiter has left", self._available),
            (semconv.BACKPRESSURE_IN_FLIGHT, "{request}", "Requests that hold a permit", self._in_flight),
            (semconv.BACKPRESSURE_LIMIT, "{request}", "Requests that may hold a permit at once", self._limits),
        ):
            meter.create_observable_gauge(name, [self._callback(active, read)], unit, description)

    def silence(self) -> None:
        """Let no gauge speak until ``observe`` is called again."""
        self._active = None

    def _callback(
        self, provider: Any, read: Callable[[], list[Observation]]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def callback(_: CallbackOptions) -> Iterable[Observation]:
            return read() if is_same(self._active, provider) else ()

        return callback

    def alive(self, kind: str) -> Iterator[tuple[Any, str]]:
        """Yield the components of a kind that are alive, each with its executor's name.

        Args:
            kind: One of ``KINDS``.
        """
        for component in list(self._known[kind].values()):
            instance = component.instance()
            if instance is not None:
                yield instance, component.executor

    def breakers(self) -> Iterator[tuple[Any, str, int]]:
        """Yield the breakers that can be read, each with its executor's name and its state, an index of ``STATES``."""
        for breaker, executor in self.alive(BREAKER):
            state = _state(breaker)
            if state is not None:
                yield breaker, executor, state

    def queues(self) -> Iterator[tuple[str, int, int]]:
        """Yield the executor of each back-pressure control with a limit, how many hold a permit, and how many may."""
        for control, executor in self.alive(BACKPRESSURE):
            held, limit = _holders(control), _limit(control)
            if held is not None and limit is not None:
                yield executor, held, limit

    def _states(self) -> list[Observation]:
        # Of several breakers of one name the worst counts.
        worst: dict[str, int] = {}
        for _, executor, state in self.breakers():
            worst[executor] = max(worst.get(executor, 0), state)
        return [
            Observation(int(index == state), {semconv.LABEL_EXECUTOR: executor, semconv.LABEL_STATE: name})
            for executor, state in worst.items()
            for index, name in enumerate(STATES)
        ]

    def _available(self) -> list[Observation]:
        return _summed((executor, _permits(limiter)) for limiter, executor in self.alive(LIMITER))

    def _in_flight(self) -> list[Observation]:
        return _summed((executor, _holders(control)) for control, executor in self.alive(BACKPRESSURE))

    def _limits(self) -> list[Observation]:
        return _summed((executor, _limit(control)) for control, executor in self.alive(BACKPRESSURE))


def is_same(active: Any, provider: Any) -> bool:
    """Return whether the meter provider that is active is one that gauges were created with.

    Args:
        active: It, ``GLOBAL`` for the global one, or ``None``.
        provider: The other, or ``GLOBAL``.
    """
    # What the global provider is may not have been known when the gauges were created.
    known = (get_meter_provider() if each is GLOBAL else each for each in (active, provider))
    return active is not None and operator.is_(*known)


# A component of the user's own making may lack what it is asked for. It must not silence the others.


@guarded
def _state(breaker: Any) -> int | None:
    state = breaker.state.value
    return STATES.index(state) if state in STATES else None


@guarded
def _permits(limiter: Any) -> float | None:
    if not limiter.is_limited:
        return None
    # What `available_tokens` would return. It refills the bucket to know, which the thread of an exporter must not do
    # while the application's takes permits out.
    elapsed = time.monotonic() - limiter._last_refill
    return float(min(limiter._tokens + elapsed * limiter._rate, limiter._max_tokens))


@guarded
def _holders(control: Any) -> int:
    return int(control.current_inflight)


@guarded
def _limit(control: Any) -> int | None:
    return int(control.get_stats()["max_concurrent"]) if control.is_limited else None


@guarded
def _rejections(instance: Any) -> int:
    stats = getattr(instance, "_stats", None)
    return int(getattr(stats, "rejected_requests", 0))


def _summed(values: Iterable[tuple[str, float | None]]) -> list[Observation]:
    totals: dict[str, float] = {}
    for executor, value in values:
        if value is not None:
            totals[executor] = totals.get(executor, 0) + value
    return [Observation(total, {semconv.LABEL_EXECUTOR: executor}) for executor, total in totals.items()]
