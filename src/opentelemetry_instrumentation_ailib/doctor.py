"""The doctor's checks of what the variables of the environment say.

A check is a generator of :class:`Line`. ``__main__`` has the checks of what is installed, and prints them all.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.util.genai.utils import get_content_capturing_mode

from opentelemetry_instrumentation_ailib.config import COMPLETION_HOOK_VARIABLE, VARIABLES, Config, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

OK, NOTE, ATTENTION, PROGRESS = "ok", "note", "attention", "progress"

AGENT = "opentelemetry.instrumentation.auto_instrumentation"
IN_VAIN = (
    "though opentelemetry-instrument runs: see what it says above (is its SDK installed? where the application has the "
    "port of the prometheus exporter, set OTEL_EXPORTER_PROMETHEUS_PORT=0 for the doctor)"
)


class Line(NamedTuple):
    """A line of the report: how it stands, and the text, which for ``attention`` says what to do."""

    level: str
    text: str


_RELEVANT = re.compile(
    r"OTEL_((TRACES|METRICS|LOGS)_EXPORTER|TRACES_SAMPLER(_ARG)?|SERVICE_NAME|RESOURCE_ATTRIBUTES|SDK_DISABLED|CONFIG_FILE"
    r"|PYTHON_(DISABLED_INSTRUMENTATIONS|DISTRO|CONFIGURATOR)|EXPORTER_OTLP_(\w+_)?(ENDPOINT|PROTOCOL|HEADERS|INSECURE)"
    r"|EXPORTER_PROMETHEUS_(HOST|PORT)|INSTRUMENTATION_(AILIB|GENAI)_\w+)"
)
_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
_SECRET = re.compile(r"\w+_(HEADERS|ATTRIBUTES|KEY|TOKEN|SECRET|PASSWORD)")


def variables() -> Iterator[Line]:
    """The variables that matter, without their secrets."""
    found = {name: value for name, value in environment().items() if _RELEVANT.fullmatch(name)}
    for name, value in found.items():
        yield Line(NOTE, f"{name} is set" if _SECRET.fullmatch(name) else f"{name}={shown(name, value)}")
    if not found:
        yield Line(NOTE, "no OTEL_ variable that matters here is set")
    if "OTEL_SERVICE_NAME" not in found and "service.name=" not in found.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        yield Line(NOTE, "OTEL_SERVICE_NAME is not set: the telemetry names its service unknown_service")


def shown(name: str, value: str) -> str:
    """Return what may be shown of a variable: no credentials.

    Args:
        name: Its name.
        value: Its value.
    """
    return _without_secrets(value.strip()) if name.endswith("_ENDPOINT") or "://" in value else value.strip()


def _without_secrets(url: str) -> str:
    """Take userinfo, query and fragment out. By hand: what is no proper URL can hold a password, too."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    if "@" in scheme + path:
        return "(not shown: there is an @ where no URL has one)"
    return scheme + separator + authority.rpartition("@")[2] + re.split(r"[?#]", path, maxsplit=1)[0]


def disabled() -> list[str]:
    """Return the entries of the variable that keep ``opentelemetry-instrument`` from us."""
    return sorted({"ailib", "*"} & {entry.strip() for entry in environment().get(_DISABLED, "").split(",")})


def switches() -> Iterator[Line]:
    """What is switched off altogether, and values that mean nothing."""
    found = environment()
    if found.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield Line(ATTENTION, "OTEL_SDK_DISABLED=true, so nothing is recorded: unset it")
    for entry in disabled():
        yield Line(ATTENTION, f"{_DISABLED} keeps opentelemetry-instrument from ai-lib-python: take {entry} out of it")
    for name in found:
        if name.startswith("OTEL_INSTRUMENTATION_AILIB_") and name not in VARIABLES:
            yield Line(ATTENTION, f"{name} means nothing: there are {', '.join(VARIABLES)}")
    hooks = sorted({point.name for point in entry_points(group="opentelemetry_genai_completion_hook")})
    if (hook := found.get(COMPLETION_HOOK_VARIABLE)) is not None and hook not in hooks:
        remedy = f"install the package that has it, or name one of {', '.join(hooks)}"
        named = shown(COMPLETION_HOOK_VARIABLE, hook)
        yield Line(ATTENTION, f"{COMPLETION_HOOK_VARIABLE}={named} is no hook: {remedy}")
    with _complaints() as complaints:
        Config.read()
        get_content_capturing_mode()
    for complaint in complaints:
        yield Line(ATTENTION, f"{complaint.rstrip('.')}: correct the variable")


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what the readers of the environment would log."""
    messages: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        messages.append(record.getMessage())
        return False

    loggers = [logging.getLogger(reader.__module__) for reader in (Config, get_content_capturing_mode)]
    for logger in loggers:
        logger.addFilter(collect)
    try:
        yield messages
    finally:
        for logger in loggers:
            logger.removeFilter(collect)
