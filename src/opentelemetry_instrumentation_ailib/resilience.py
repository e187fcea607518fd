"""Resilience: retries, circuit breakers, rate limiters and back-pressure, inside of executors and on their own.

The modules are patched when the application imports them, which is when it opts in. Streams bypass the executor: no
retry, breaker or queue acts on them, and none is reported.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import perf_counter
from typing import Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from opentelemetry_instrumentation_ailib import live, logs, naming, semconv
from opentelemetry_instrumentation_ailib.attempts import note_retry
from opentelemetry_instrumentation_ailib.collected import unlocked
from opentelemetry_instrumentation_ailib.coroutines import Call, around
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.operation import Operation, current_operation
from opentelemetry_instrumentation_ailib.patching import Row, Wrapper
from opentelemetry_instrumentation_ailib.telemetry import Telemetry, elapsed

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
Target = Callable[..., Any]
Note = Callable[[Telemetry, Any], object]


def _noting(note: Note, *, after: bool = False) -> Callable[[Telemetry], Wrapper]:
    """Build a wrapper that notes something about the instance before its method runs, or after."""
    note = guarded(note)

    def build(telemetry: Telemetry) -> Wrapper:
        def run(wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
            if not after:
                note(telemetry, instance)
            result = wrapped(*args, **kwargs)
            if after:
                note(telemetry, instance)
            return result

        return run

    return build


# --- executors, and what is alive of them and of components ---


def _adopt(telemetry: Telemetry, executor: Any) -> None:
    telemetry.components.adopt(executor)


def _enqueue(telemetry: Telemetry, executor: Any) -> None:
    operation = current_operation()
    if operation is not None and operation.executor is executor:
        operation.enqueue()
    telemetry.components.adopt(executor)  # It may be older than the instrumentation.


def _register(kind: str) -> Note:
    return lambda telemetry, component: telemetry.components.component(kind, component)


# --- retries ---


def _retried(telemetry: Telemetry) -> Wrapper:
    def run(wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        operation = current_operation()
        if operation is not None and getattr(operation.executor, "_retry", None) is instance:
            args, kwargs = _observed(operation, args, kwargs) or (args, kwargs)
        return wrapped(*args, **kwargs)

    return run


@guarded
def _observed(operation: Operation, args: Arguments, kwargs: Keywords) -> tuple[Arguments, Keywords] | None:
    if len(args) > 2:
        return None  # One argument too many, as it will find.
    theirs = args[1] if len(args) > 1 else kwargs.get("on_retry")
    known = weakref.ref(operation)  # An exception that lives long has this among the runtime's arguments.

    def on_retry(attempt: int, error: Exception, delay: float) -> None:
        _note_retry(known(), attempt, error, delay)
        if theirs:
            theirs(attempt, error, delay)

    return args[:1], {**{key: value for key, value in kwargs.items() if key != "on_retry"}, "on_retry": on_retry}


@guarded
def _note_retry(operation: Operation | None, attempt: int, error: Exception, delay: float) -> None:
    if operation is not None:
        note_retry(operation, attempt, error, delay)


# --- circuit breakers ---


def _transition(telemetry: Telemetry) -> Wrapper:
    def run(wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        before = _state(instance)
        result = wrapped(*args, **kwargs)
        _note_transition(telemetry, instance, before)
        return result

    return run


@guarded
def _state(breaker: Any) -> str:
    return str(breaker.state.value)


@guarded
def _note_transition(telemetry: Telemetry, breaker: Any, before: str | None) -> None:
    executor, state = telemetry.components.component(live.BREAKER, breaker).executor, _state(breaker)
    if state is None or state == before or not is_instrumentation_enabled():
        return
    labels = {semconv.LABEL_EXECUTOR: executor, semconv.LABEL_TO: state}
    telemetry.instruments.circuit_breaker_transitions.add(1, labels)
    if state == live.STATES[-1]:
        logs.circuit_opened(executor)


def _guarded_by_breaker(telemetry: Telemetry) -> Wrapper:
    async def run(call: Call, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        _known(telemetry, instance)
        try:
            return await call.take()
        finally:
            _count_rejections(telemetry, instance)

    return around(run)


_known = guarded(_register(live.BREAKER))


@unlocked
@guarded
def _count_rejections(telemetry: Telemetry, breaker: Any) -> None:
    rejections, executor = telemetry.components.new_rejections(breaker)
    if rejections > 0 and is_instrumentation_enabled():
        telemetry.instruments.circuit_breaker_rejections.add(rejections, {semconv.LABEL_EXECUTOR: executor})


# --- waits: rate limiters and back-pressure ---


@unlocked
@guarded
def _note_wait(telemetry: Telemetry, kind: str, component: Any, waited: float) -> None:
    executor = telemetry.components.component(kind, component).executor
    if component.is_limited and is_instrumentation_enabled():
        instruments = telemetry.instruments
        wait = instruments.rate_limiter_wait if kind == live.LIMITER else instruments.backpressure_wait
        wait.record(waited, {semconv.LABEL_EXECUTOR: executor})


def _limited(telemetry: Telemetry) -> Wrapper:
    async def run(call: Call, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        began = perf_counter()
        try:
            return await call.take()
        finally:
            # What it returns leaves out the time queued for its lock, behind others who wait.
            _note_wait(telemetry, live.LIMITER, instance, elapsed(began))

    return around(run)


class _Permit:
    """The runtime's context manager around a permit, whose entry is timed. All else is the manager's, its class too.

    A proxy of wrapt's would have every special method, and be taken for more than a context manager.
    """

    def __init__(self, manager: Any, telemetry: Telemetry, control: Any) -> None:
        self._manager = manager
        self._telemetry = telemetry
        self._control = control
        self.__doc__ = manager.__doc__

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._manager)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def __call__(self, function: Target) -> Any:
        return self._manager(function)

    async def __aenter__(self) -> Any:
        began = perf_counter()
        try:
            return await self._manager.__aenter__()
        finally:
            # Refused or granted, it waited.
            _note_wait(self._telemetry, live.BACKPRESSURE, self._control, elapsed(began))

    async def __aexit__(self, *exception: Any) -> Any:
        try:
            return await self._manager.__aexit__(*exception)
        except BaseException as error:
            _note_mistake(self._control, error, exception[1])
            raise


@guarded
def _note_mistake(control: Any, error: BaseException, cause: BaseException | None) -> None:
    # It takes a timeout inside of its permit for one of its queue.
    operation = current_operation()
    if operation is None or cause is None or cause is error:
        return
    if getattr(operation.executor, live.BACKPRESSURE, None) is control:
        operation.mistaken(error, naming.failure_type(cause) or semconv.OTHER)


def _permitted(telemetry: Telemetry) -> Wrapper:
    def run(wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        return _Permit(wrapped(*args, **kwargs), telemetry, instance)

    return run


_PACKAGE = "ai_lib_python.resilience"

ROWS = (
    Row(f"{_PACKAGE}.executor", "ResilientExecutor.__init__", _noting(_adopt, after=True)),
    Row(f"{_PACKAGE}.executor", "ResilientExecutor.execute", _noting(_enqueue)),
    Row(f"{_PACKAGE}.executor", "ResilientExecutor.execute_with_stats", _noting(_enqueue)),
    Row(f"{_PACKAGE}.retry", "RetryPolicy.execute", _retried),
    Row(f"{_PACKAGE}.circuit_breaker", "CircuitBreaker.__init__", _noting(_register(live.BREAKER), after=True)),
    Row(f"{_PACKAGE}.circuit_breaker", "CircuitBreaker._transition_to", _transition),
    Row(f"{_PACKAGE}.circuit_breaker", "CircuitBreaker.reset", _transition),
    Row(f"{_PACKAGE}.circuit_breaker", "CircuitBreaker.execute", _guarded_by_breaker),
    Row(f"{_PACKAGE}.rate_limiter", "RateLimiter.__init__", _noting(_register(live.LIMITER), after=True)),
    Row(f"{_PACKAGE}.rate_limiter", "RateLimiter.acquire", _limited),
    Row(f"{_PACKAGE}.rate_limiter", "RateLimiter.try_acquire", _noting(_register(live.LIMITER))),
    Row(f"{_PACKAGE}.backpressure", "Backpressure.__init__", _noting(_register(live.BACKPRESSURE), after=True)),
    Row(f"{_PACKAGE}.backpressure", "Backpressure.acquire", _permitted),
    Row(f"{_PACKAGE}.backpressure", "Backpressure.try_acquire", _noting(_register(live.BACKPRESSURE))),
)
