"""The doctor's checks of what the environment says: variables, exporters, OTLP endpoints.

A check is a generator of :class:`Line`. ``__main__`` has the checks of what is installed, and prints them all.
"""

from __future__ import annotations

import logging
import re
import socket
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from importlib.metadata import entry_points
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from opentelemetry.util.genai.utils import get_content_capturing_mode

from opentelemetry_instrumentation_ailib.config import Config, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

OK, NOTE, ATTENTION, PROGRESS = "ok", "note", "attention", "progress"
CONNECT_TIMEOUT = 2.0  # seconds


class Line(NamedTuple):
    """A line of the report: how it stands, and the text, which for ``attention`` says what to do."""

    level: str
    text: str


# --- configuration ---

_SIGNALS = ("traces", "metrics", "logs")
_RELEVANT = re.compile(
    r"OTEL_((TRACES|METRICS|LOGS)_EXPORTER|TRACES_SAMPLER(_ARG)?|SERVICE_NAME|RESOURCE_ATTRIBUTES|SDK_DISABLED|CONFIG_FILE"
    r"|PYTHON_(DISABLED_INSTRUMENTATIONS|DISTRO|CONFIGURATOR)|EXPORTER_OTLP_(\w+_)?(ENDPOINT|PROTOCOL|HEADERS|INSECURE)"
    r"|EXPORTER_PROMETHEUS_(HOST|PORT)|INSTRUMENTATION_(AILIB|GENAI)_\w+)"
)
_SECRET = re.compile(r"\w+_(HEADERS|ATTRIBUTES|KEY|TOKEN|SECRET|PASSWORD)")


def variables() -> Iterator[Line]:
    """The variables that matter, without their secrets."""
    found = {name: value for name, value in environment().items() if _RELEVANT.fullmatch(name)}
    for name, value in found.items():
        yield Line(NOTE, f"{name} is set" if _SECRET.fullmatch(name) else f"{name}={_shown(name, value)}")
    if not found:
        yield Line(NOTE, "no OTEL_ variable that matters here is set")
    if "OTEL_SERVICE_NAME" not in found and "service.name=" not in found.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        yield Line(NOTE, "OTEL_SERVICE_NAME is not set: the telemetry names its service unknown_service")


def _shown(name: str, value: str) -> str:
    return _without_secrets(value.strip()) if name.endswith("_ENDPOINT") or "://" in value else value.strip()


def _without_secrets(url: str) -> str:
    """Take userinfo, query and fragment out. By hand: what is no proper URL can hold a password, too."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    if "@" in scheme + path:
        return "(not shown: there is an @ where no URL has one)"
    return scheme + separator + authority.rpartition("@")[2] + re.split(r"[?#]", path, maxsplit=1)[0]


def switches() -> Iterator[Line]:
    """What is switched off altogether, and values that mean nothing."""
    found = environment()
    if found.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield Line(ATTENTION, "OTEL_SDK_DISABLED=true, so nothing is recorded: unset it")
    name = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
    for entry in sorted({"ailib", "*"} & {entry.strip() for entry in found.get(name, "").split(",")}):
        yield Line(ATTENTION, f"{name} keeps opentelemetry-instrument from ai-lib-python: take {entry} out of it")
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


# --- exporters and OTLP endpoints ---

_OTLP = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_DEFAULT_ENDPOINTS = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
_PORT_OF_THE_OTHER = {"grpc": 4318, "http/protobuf": 4317}
_COMMON = {
    "console": "opentelemetry-sdk",
    "otlp_proto_grpc": "opentelemetry-exporter-otlp-proto-grpc",
    "otlp_proto_http": "opentelemetry-exporter-otlp-proto-http",
}
_METRICS = {**_COMMON, "prometheus": "opentelemetry-exporter-prometheus"}


def exporters() -> Iterator[Line]:
    """The exporters that the variables name, and whether they are installed."""
    found = environment()
    named = {signal: found[variable] for signal in _SIGNALS if (variable := f"OTEL_{signal.upper()}_EXPORTER") in found}
    if "OTEL_CONFIG_FILE" in found:
        yield Line(NOTE, "OTEL_CONFIG_FILE names the exporters: they are not checked here")
        return
    for signal, names in named.items():
        if names.strip().lower() == "none":
            yield Line(NOTE, f"{signal}: exported nowhere, by OTEL_{signal.upper()}_EXPORTER=none")
            continue
        yield from (_exporter(signal, name.strip(), found) for name in names.split(","))
    if not named:
        variables = ", ".join(f"OTEL_{signal.upper()}_EXPORTER" for signal in _SIGNALS)
        yield Line(NOTE, f"telemetry goes nowhere until {variables} name exporters, or the application sets providers")


def _exporter(signal: str, name: str, found: dict[str, str]) -> Line:
    gives_up = "so opentelemetry-instrument instruments nothing"
    protocol = _protocol(signal, name, found)
    if protocol and protocol not in _OTLP:
        remedy = "set OTEL_EXPORTER_OTLP_PROTOCOL (or the signal's own) to grpc or http/protobuf"
        return Line(ATTENTION, f"{signal}: there is no OTLP exporter for protocol {protocol}, {gives_up}: {remedy}")
    entry = _OTLP[protocol] if protocol else name
    available = sorted({point.name for point in entry_points(group=f"opentelemetry_{signal}_exporter")})
    if entry in available:
        return Line(OK, f"{signal}: exporter {entry} is installed")
    remedy = f"set OTEL_{signal.upper()}_EXPORTER to one of {', '.join([*available, 'none'])}"
    if package := (_METRICS if signal == "metrics" else _COMMON).get(entry):
        remedy = f"pip install {package}, or {remedy}"
    return Line(ATTENTION, f"{signal}: exporter {entry or '(empty name)'} is not installed, {gives_up}: {remedy}")


def _protocol(signal: str, exporter: str, found: dict[str, str]) -> str | None:
    """Return the protocol of an OTLP exporter, as the SDK chooses it; ``None`` for other exporters."""
    if exporter != "otlp":
        return {entry: protocol for protocol, entry in _OTLP.items()}.get(exporter)
    own = found.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
    return (own or found.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "grpc").strip()


class _Use(NamedTuple):
    """A signal that is exported by OTLP, and what says where to."""

    signal: str
    protocol: str
    source: str
    url: str


def _uses(found: dict[str, str]) -> Iterator[_Use]:
    for signal in _SIGNALS:
        variables = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        source = next((variable for variable in variables if variable in found), "")
        # opentelemetry-distro chooses otlp where nothing is chosen, and an endpoint says that somebody wants it.
        names = found.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp" if source else "")
        for protocol in sorted({*_OTLP} & {_protocol(signal, name.strip(), found) for name in names.split(",")}):
            url = found[source].strip() if source else _DEFAULT_ENDPOINTS[protocol]
            if not url.startswith("unix:"):  # gRPC takes them; there is no address to connect to.
                yield _Use(signal, protocol, source or "default endpoint", url)


def endpoints() -> Iterator[Line]:
    """Whether each OTLP endpoint accepts a connection."""
    users: dict[tuple[str, int], list[_Use]] = {}
    wrong: dict[Line, None] = {}  # A set that keeps its order: one variable serves several signals.
    found = environment()
    for use in () if "OTEL_CONFIG_FILE" in found else _uses(found):
        try:
            users.setdefault(_address(use), []).append(use)
        except ValueError:
            shown, like = _shown(use.source, use.url), _DEFAULT_ENDPOINTS[use.protocol]
            problem = f"{use.source}={shown} is no endpoint for {use.protocol}"
            wrong[Line(ATTENTION, f"{problem}: make it one like {like}")] = None
    yield from wrong
    if not users:
        yield Line(NOTE, "there is no address to connect to")
    yield from (Line(PROGRESS, f"connecting to {_where(each)}, up to {CONNECT_TIMEOUT:.0f} s") for each in users)
    deadline = monotonic() + CONNECT_TIMEOUT
    for address, outcome in [(address, _connect(address)) for address in users]:
        yield _answer(address, users[address], outcome, deadline)


def _address(use: _Use) -> tuple[str, int]:
    """Return host and port as the exporter takes them from the URL; ``ValueError`` if there are none."""
    parts = urlsplit(f"//{use.url}" if use.protocol == "grpc" and "://" not in use.url else use.url)
    misplaced = "@" in parts.path + parts.query + parts.fragment  # Then the "host" is half of a password.
    if misplaced or not parts.hostname or (use.protocol != "grpc" and parts.scheme not in ("http", "https")):
        raise ValueError
    return parts.hostname, parts.port or (80 if use.protocol != "grpc" and parts.scheme == "http" else 443)


def _where(address: tuple[str, int]) -> str:
    return "{}:{}".format(f"[{address[0]}]" if ":" in address[0] else address[0], address[1])


def _connect(address: tuple[str, int]) -> Future[None]:
    outcome: Future[None] = Future()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=CONNECT_TIMEOUT).close()
            outcome.set_result(None)
        except Exception as error:
            outcome.set_exception(error)

    # A thread that nobody waits for at exit: looking a name up can take much longer than the timeout.
    Thread(target=connect, daemon=True).start()
    return outcome


def _answer(address: tuple[str, int], uses: list[_Use], outcome: Future[None], deadline: float) -> Line:
    who = ", ".join(dict.fromkeys(use.signal for use in uses))
    who += "; " + ", ".join(dict.fromkeys(use.source for use in uses))
    try:
        outcome.result(timeout=max(0.0, deadline - monotonic()))
    except (TimeoutError, FutureTimeoutError):
        problem = f"does not answer within {CONNECT_TIMEOUT:.0f} s"
    except ConnectionRefusedError:
        problem = "refuses connections"
    except (socket.gaierror, UnicodeError):
        problem = "is not a known host"
    except OSError as error:
        problem = f"cannot be reached ({error.strerror})"
    else:
        unusual = [use.protocol for use in uses if address[1] == _PORT_OF_THE_OTHER[use.protocol]]
        hint = f"; port {address[1]} is seldom {unusual[0]}: check OTEL_EXPORTER_OTLP_PROTOCOL" if unusual else ""
        return Line(NOTE if hint else OK, f"{_where(address)} answers ({who}){hint}")
    remedy = "start a Collector there, or set OTEL_EXPORTER_OTLP_ENDPOINT (or the signal's own) to where one is"
    return Line(ATTENTION, f"{_where(address)} {problem} ({who}): {remedy}")
