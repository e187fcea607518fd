"""Configuration: argument over environment over default, and nothing that stops an application."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from opentelemetry_instrumentation_ailib.config import Config

ALL = frozenset({"protocol.load", "request.compile", "http.transport", "pipeline.process", "event.map"})
STAGES = "OTEL_INSTRUMENTATION_AILIB_STAGES"
CHUNK_TIMING = "OTEL_INSTRUMENTATION_AILIB_CHUNK_TIMING"
DOCUMENTED_API = "OTEL_INSTRUMENTATION_AILIB_DOCUMENTED_API"
noisy = pytest.mark.noisy("opentelemetry_instrumentation_ailib")
STAGE_LIST = "protocol.load, request.compile, http.transport, pipeline.process, event.map"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start from an environment that says nothing."""
    monkeypatch.delenv(STAGES, raising=False)
    monkeypatch.delenv(CHUNK_TIMING, raising=False)
    monkeypatch.delenv(DOCUMENTED_API, raising=False)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what our own logger said."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "opentelemetry_instrumentation_ailib.config" and record.levelno == logging.WARNING
    ]


def test_by_default_every_stage_and_every_chunk_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    assert Config.read() == Config() == Config(stages=ALL, chunk_timing=True)
    assert warnings(caplog) == []


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().chunk_timing = False  # type: ignore[misc]


STAGE_VALUES = [
    ("all", ALL),
    ("ALL", ALL),
    (" all ", ALL),
    ("", ALL),
    (" ", ALL),
    (",", ALL),
    ("none", frozenset()),
    ("None", frozenset()),
    ("http.transport", {"http.transport"}),
    ("HTTP.Transport", {"http.transport"}),
    ("http.transport,event.map", {"http.transport", "event.map"}),
    (" http.transport , event.map ,", {"http.transport", "event.map"}),
    ("http.transport,http.transport", {"http.transport"}),
    (STAGE_LIST, ALL),
]


@pytest.mark.parametrize(("value", "expected"), STAGE_VALUES)
def test_stages_by_environment(
    value: str, expected: set[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(STAGES, value)
    assert Config.read().stages == expected
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *STAGE_VALUES,
        (["http.transport", "event.map"], {"http.transport", "event.map"}),
        (("HTTP.transport ",), {"http.transport"}),
        ({"http.transport"}, {"http.transport"}),
        (frozenset({"event.map"}), {"event.map"}),
        (iter(["event.map"]), {"event.map"}),
        (["all"], ALL),
        (["none"], frozenset()),
    ],
)
def test_stages_by_argument(value: Any, expected: set[str], caplog: pytest.LogCaptureFixture) -> None:
    assert Config.read(stages=value).stages == expected
    assert warnings(caplog) == []


@pytest.mark.parametrize("stage", sorted(ALL))
def test_each_stage_can_be_chosen_alone(stage: str) -> None:
    assert Config.read(stages=stage).stages == {stage}


def unknown(stage: str) -> str:
    return f"{STAGES}: there is no stage {stage!r}; use all, none or a comma-separated list of {STAGE_LIST}"


@noisy
@pytest.mark.parametrize(
    ("value", "expected", "unknown_stages"),
    [
        ("transport", frozenset(), ["transport"]),
        ("http.transport,map,Compile", {"http.transport"}, ["compile", "map"]),
        ("http.transport,all", {"http.transport"}, ["all"]),
        ("none,http.transport", {"http.transport"}, ["none"]),
    ],
)
def test_a_stage_that_is_none_is_reported_once_and_ignored(
    value: str,
    expected: set[str],
    unknown_stages: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(STAGES, value)
    assert Config.read().stages == expected
    assert warnings(caplog) == [unknown(stage) for stage in unknown_stages]


@noisy
@pytest.mark.parametrize(
    "value",
    [7, True, 1.5, [["http.transport"]], [7, "http.transport"], object()],
    ids=lambda value: type(value).__name__,
)
def test_an_argument_of_another_type_is_reported_and_raises_nothing(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert Config.read(stages=value).stages <= ALL
    assert len(warnings(caplog)) == 1


BOOLEANS = [
    ("true", True),
    ("TRUE", True),
    (" True ", True),
    ("1", True),
    ("yes", True),
    ("on", True),
    ("false", False),
    ("False", False),
    ("0", False),
    ("no", False),
    ("off", False),
    ("", True),
    ("  ", True),
]


@pytest.mark.parametrize(("value", "expected"), BOOLEANS)
def test_chunk_timing_by_environment(
    value: str, expected: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(CHUNK_TIMING, value)
    assert Config.read().chunk_timing is expected
    assert warnings(caplog) == []


@noisy
def test_a_word_that_is_no_boolean_is_reported_and_ignored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(CHUNK_TIMING, " Maybe ")
    assert Config.read().chunk_timing is True
    assert warnings(caplog) == [f"{CHUNK_TIMING}: 'maybe' is neither true nor false; true is used"]


@pytest.mark.parametrize(("value", "expected"), BOOLEANS)
def test_the_documented_api_by_environment(
    value: str, expected: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(DOCUMENTED_API, value)
    assert Config.read().documented_api is expected
    assert Config.read(documented_api=not expected).documented_api is not expected
    assert warnings(caplog) == []


@pytest.mark.parametrize("value", [True, False])
def test_chunk_timing_by_argument(value: bool) -> None:
    assert Config.read(chunk_timing=value).chunk_timing is value


def test_arguments_win_over_the_environment_which_is_not_even_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(STAGES, "nonsense")
    monkeypatch.setenv(CHUNK_TIMING, "nonsense")
    assert Config.read(stages="event.map", chunk_timing=False) == Config(frozenset({"event.map"}), chunk_timing=False)
    assert warnings(caplog) == []


def test_arguments_of_none_leave_it_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STAGES, "none")
    monkeypatch.setenv(CHUNK_TIMING, "false")
    assert Config.read(stages=None, chunk_timing=None) == Config(frozenset(), chunk_timing=False)


def test_one_choice_does_not_depend_on_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STAGES, "none")
    assert Config.read(chunk_timing=False) == Config(frozenset(), chunk_timing=False)
    monkeypatch.setenv(CHUNK_TIMING, "false")
    assert Config.read(stages="all") == Config(ALL, chunk_timing=False)


@pytest.mark.parametrize("empty", [[], (), set()], ids=lambda value: type(value).__name__)
def test_an_empty_collection_of_stages_is_none_of_them(empty: Any) -> None:
    assert Config.read(stages=empty).stages == frozenset()


@pytest.mark.parametrize(("value", "expected"), [("false", False), ("true", True)])
def test_chunk_timing_as_a_word_means_what_it_says(value: str, expected: bool) -> None:
    assert Config.read(chunk_timing=value).chunk_timing is expected
