"""Who listens to what is told of a call as it goes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider, _internal
from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.trace import NoOpTracerProvider, TracerProvider
from opentelemetry.util._once import Once

from opentelemetry_instrumentation_ailib import loggers
from opentelemetry_instrumentation_ailib.listeners import Listeners, streams_are_logged

GETTERS: dict[Any, str] = {trace: "get_tracer_provider", metrics: "get_meter_provider"}
NOBODY: dict[str, Any] = {"tracer_provider": NoOpTracerProvider(), "meter_provider": NoOpMeterProvider()}


@pytest.fixture(autouse=True)
def no_global_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no provider set, whatever another test set, and let each be set, once.

    It counts in modules that import it.
    """
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(_internal, "_METER_PROVIDER", None)
    monkeypatch.setattr(_internal, "_METER_PROVIDER_SET_ONCE", Once())
    # It knows the meters of others, which are to stay as they are.
    monkeypatch.setattr(_internal, "_PROXY_METER_PROVIDER", _internal._ProxyMeterProvider())


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep pytest's own handlers, which it adds when a test begins, from the records."""
    logger = logging.getLogger("ai_lib")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logger, "propagate", False)
        patch.setattr(logger, "handlers", [])
        loggers.begin()
        yield
        loggers.end()


class OwnTracers(TracerProvider):
    """A provider of the application's."""

    def get_tracer(self, *_: Any, **__: Any) -> Any:
        """Return nothing."""


class OwnMeters(MeterProvider):
    """A provider of the application's."""

    def get_meter(self, *_: Any, **__: Any) -> Any:
        """Return nothing."""


def test_without_an_sdk_nobody_listens() -> None:
    assert not Listeners().present()


@pytest.mark.parametrize(
    ("given", "present"),
    [
        (NOBODY, False),
        ({**NOBODY, "tracer_provider": sdk_trace.TracerProvider()}, True),
        ({**NOBODY, "meter_provider": sdk_metrics.MeterProvider()}, True),
        ({**NOBODY, "tracer_provider": OwnTracers()}, True),
        ({**NOBODY, "meter_provider": OwnMeters()}, True),
        ({**NOBODY, "certain": True}, True),
        ({"tracer_provider": NoOpTracerProvider()}, False),
        ({"meter_provider": NoOpMeterProvider()}, False),
    ],
    ids=["none", "tracers", "meters", "own tracers", "own meters", "content", "no tracers", "no meters"],
)
def test_providers_that_are_given(given: dict[str, Any], present: bool) -> None:
    assert Listeners(**given).present() is present


def set_tracers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(trace, "_TRACER_PROVIDER", sdk_trace.TracerProvider())


def set_meters(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_internal, "_METER_PROVIDER", sdk_metrics.MeterProvider())


@pytest.mark.parametrize("set_provider", [set_tracers, set_meters])
def test_providers_that_are_set_later_listen_from_then_on(
    monkeypatch: pytest.MonkeyPatch, set_provider: Callable[[pytest.MonkeyPatch], None]
) -> None:
    listeners = Listeners()
    assert not listeners.present()
    with monkeypatch.context() as patch:
        set_provider(patch)
        assert listeners.present()
    assert listeners.present(), "no application can unset a provider"


def test_a_global_provider_in_whose_place_another_was_given_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    set_tracers(monkeypatch)
    set_meters(monkeypatch)
    assert not Listeners(**NOBODY).present()


# --- the API's, which stand for the global ones ---

STANDING_IN: dict[str, Callable[[], Any]] = {
    "tracer_provider": trace.get_tracer_provider,
    "meter_provider": metrics.get_meter_provider,
}
SETTERS = {"tracer_provider": set_tracers, "meter_provider": set_meters}


@pytest.mark.parametrize("given", STANDING_IN)
@pytest.mark.parametrize("later", SETTERS)
def test_what_stands_for_a_global_provider_listens_once_that_is_set(
    monkeypatch: pytest.MonkeyPatch, given: str, later: str
) -> None:
    listeners = Listeners(**{**NOBODY, given: STANDING_IN[given]()})
    assert not listeners.present()
    SETTERS[later](monkeypatch)
    assert listeners.present() is (given == later)


# --- those of them that measure ---


@pytest.mark.parametrize(
    ("given", "measure", "present"),
    [
        (NOBODY, False, False),
        ({}, False, False),
        ({**NOBODY, "tracer_provider": sdk_trace.TracerProvider()}, False, True),
        ({**NOBODY, "meter_provider": sdk_metrics.MeterProvider()}, True, True),
        ({**NOBODY, "meter_provider": OwnMeters()}, True, True),
        ({**NOBODY, "measured": True}, True, True),
        ({**NOBODY, "certain": True}, False, True),
    ],
    ids=["none", "none yet", "tracers", "meters", "own meters", "a collector", "content"],
)
def test_who_measures(given: dict[str, Any], measure: bool, present: bool) -> None:
    listeners = Listeners(**given)
    assert (listeners.measure(), listeners.present()) == (measure, present)


def test_meters_that_are_set_later_measure_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    listeners = Listeners()
    set_tracers(monkeypatch)
    assert not listeners.measure()
    with monkeypatch.context() as patch:
        set_meters(patch)
        assert not Listeners(**NOBODY).measure()
        assert listeners.measure()
    assert listeners.measure(), "no application can unset a provider"


@pytest.mark.parametrize("set_provider", [set_tracers, set_meters, None])
def test_another_release_of_the_api_is_asked_by_its_functions(
    monkeypatch: pytest.MonkeyPatch, set_provider: Callable[[pytest.MonkeyPatch], None] | None
) -> None:
    if set_provider is not None:
        set_provider(monkeypatch)
    found = {module: getattr(module, name)() for module, name in GETTERS.items()}
    for module, name in GETTERS.items():
        monkeypatch.setattr(module, name, lambda module=module: found[module])
    assert Listeners().present() is (set_provider is not None)


@pytest.mark.parametrize(
    ("logger", "level", "present"),
    [
        ("ai_lib.request", logging.INFO, True),
        ("ai_lib.request", logging.WARNING, False),
        ("ai_lib.pipeline", logging.DEBUG, True),
        ("ai_lib.pipeline", logging.INFO, False),
        ("ai_lib", logging.INFO, True),
    ],
)
def test_the_records_of_calls_and_stages_are_read(
    caplog: pytest.LogCaptureFixture, logger: str, level: int, present: bool
) -> None:
    caplog.set_level(level, logger=logger)
    assert Listeners(**NOBODY).present() is present


# --- streams, of which there are warnings ---


def test_where_logging_is_not_set_up_nobody_reads_warnings() -> None:
    with silence():
        assert not streams_are_logged()


@pytest.mark.parametrize("name", ["ai_lib.stream", "ai_lib"])
def test_a_handler_reads_them(name: str, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(name)
    with silence():
        logger.addHandler(caplog.handler)
        assert streams_are_logged()
        caplog.set_level(logging.ERROR, logger="ai_lib.stream")
        assert not streams_are_logged()
        logger.removeHandler(caplog.handler)


def test_a_handler_of_the_root_s_reads_them() -> None:
    """It is pytest's."""
    assert streams_are_logged()


def test_the_records_of_frames_are_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(loggers.TRACE, logger="ai_lib.frame")
    with silence():
        assert streams_are_logged()
