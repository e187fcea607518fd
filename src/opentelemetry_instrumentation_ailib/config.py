"""Configuration: argument over environment variable over default, read once by ``instrument()``.

This is the only module that reads ``os.environ``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from opentelemetry.util.genai import environment_variables

from opentelemetry_instrumentation_ailib.semconv import STAGES

_logger = logging.getLogger(__name__)

STAGES_VARIABLE = "OTEL_INSTRUMENTATION_AILIB_STAGES"
CHUNK_TIMING_VARIABLE = "OTEL_INSTRUMENTATION_AILIB_CHUNK_TIMING"
DOCUMENTED_API_VARIABLE = "OTEL_INSTRUMENTATION_AILIB_DOCUMENTED_API"
VARIABLES = (STAGES_VARIABLE, CHUNK_TIMING_VARIABLE, DOCUMENTED_API_VARIABLE)
"""Those of this package."""
EMIT_EVENT_VARIABLE = environment_variables.OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT
COMPLETION_HOOK_VARIABLE = environment_variables.OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK

_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


@dataclass(frozen=True)
class Config:
    """What a user can choose.

    Attributes:
        stages: The stages that get a span of their own. Stage metrics do not depend on it.
        chunk_timing: Whether every chunk of a stream is recorded in
            ``gen_ai.client.operation.time_per_output_chunk``.
        emit_event: Whether each chat call is reported in an event; ``None`` leaves it to the capturing mode.
        completion_hook: Whether the environment names a completion hook.
        documented_api: Whether the runtime's classes get what its documentation promises and they lack.
    """

    stages: frozenset[str] = frozenset(STAGES)
    chunk_timing: bool = True
    emit_event: bool | None = None
    completion_hook: bool = False
    documented_api: bool = True

    @classmethod
    def read(
        cls,
        stages: str | Iterable[str] | None = None,
        chunk_timing: bool | str | None = None,
        documented_api: bool | str | None = None,
    ) -> Config:
        """Combine arguments with the environment.

        Args:
            stages: ``"all"``, ``"none"``, a comma-separated list or an iterable of stage names
                (``request.compile``, ``http.transport``, …). ``None`` reads
                ``OTEL_INSTRUMENTATION_AILIB_STAGES``.
            chunk_timing: ``None`` reads ``OTEL_INSTRUMENTATION_AILIB_CHUNK_TIMING``.
            documented_api: ``None`` reads ``OTEL_INSTRUMENTATION_AILIB_DOCUMENTED_API``.

        Values that mean nothing are reported in one warning each and otherwise ignored: configuration
        of telemetry must not stop an application from starting.
        """
        if stages is None:
            stages = os.environ.get(STAGES_VARIABLE, "all")
        if chunk_timing is None:
            chunk_timing = os.environ.get(CHUNK_TIMING_VARIABLE, "")
        if documented_api is None:
            documented_api = os.environ.get(DOCUMENTED_API_VARIABLE, "")
        return cls(
            stages=_stages(stages),
            chunk_timing=_boolean(CHUNK_TIMING_VARIABLE, chunk_timing, default=True),
            emit_event=_boolean(EMIT_EVENT_VARIABLE, os.environ.get(EMIT_EVENT_VARIABLE, ""), default=None),
            completion_hook=bool(os.environ.get(COMPLETION_HOOK_VARIABLE)),
            documented_api=_boolean(DOCUMENTED_API_VARIABLE, documented_api, default=True),
        )


def _stages(value: str | Iterable[str]) -> frozenset[str]:
    names = value.split(",") if isinstance(value, str) else value if isinstance(value, Iterable) else (value,)
    chosen = {name.strip().lower() if isinstance(name, str) else repr(name) for name in names} - {""}
    if chosen == {"all"} or (isinstance(value, str) and not chosen):
        return frozenset(STAGES)
    if chosen == {"none"}:
        return frozenset()
    for unknown in sorted(chosen - set(STAGES)):
        _logger.warning(
            "%s: there is no stage %r; use all, none or a comma-separated list of %s",
            STAGES_VARIABLE,
            unknown,
            ", ".join(STAGES),
        )
    return frozenset(chosen & set(STAGES))


_Default = TypeVar("_Default", bool, None)


def _boolean(variable: str, given: bool | str, *, default: _Default) -> bool | _Default:
    value = str(given).strip().lower()
    if not value:
        return default
    if value not in _BOOLEANS:
        used = "the capturing mode decides" if default is None else f"{str(default).lower()} is used"
        _logger.warning("%s: %r is neither true nor false; %s", variable, value, used)
    return _BOOLEANS.get(value, default)


def environment() -> dict[str, str]:
    """Return the variables whose names begin with ``OTEL_`` and that are not empty, sorted, for the doctor."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith("OTEL_") and value.strip()}
