"""The doctor's checks of providers, of exporters and of the OTLP endpoints that the environment names."""

from __future__ import annotations

import socket
import sys
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from importlib.metadata import entry_points
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from opentelemetry._logs import get_logger_provider
from opentelemetry.metrics import get_meter_provider
from opentelemetry.trace import get_tracer_provider

from opentelemetry_instrumentation_ailib.config import environment
from opentelemetry_instrumentation_ailib.doctor import AGENT, ATTENTION, IN_VAIN, NOTE, OK, PROGRESS, Line, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_TIMEOUT = 2.0  # seconds

_SIGNALS = ("traces", "metrics", "logs")
_OTLP = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_DEFAULT_ENDPOINTS = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
_PORT_OF_THE_OTHER = {"grpc": 4318, "http/protobuf": 4317}
_COMMON = {
    "console": "opentelemetry-sdk",
    "otlp_proto_grpc": "opentelemetry-exporter-otlp-proto-grpc",
    "otlp_proto_http": "opentelemetry-exporter-otlp-proto-http",
}
_METRICS = {**_COMMON, "prometheus": "opentelemetry-exporter-prometheus"}


def providers() -> Iterator[Line]:
    """The global providers of this process."""
    getters = {"tracer": get_tracer_provider, "meter": get_meter_provider, "logger": get_logger_provider}
    for kind, get in getters.items():
        provider = type(get())
        if "Proxy" not in provider.__name__:
            yield Line(OK, f"{kind} provider: {provider.__module__}.{provider.__qualname__}")
        elif AGENT in sys.modules and "OTEL_CONFIG_FILE" not in environment():  # Which need not name all of them.
            yield Line(ATTENTION, f"{kind} provider: none, {IN_VAIN}")
        else:
            yield Line(NOTE, f"{kind} provider: none; run through opentelemetry-instrument or set one")


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
            problem = f"{use.source}={shown(use.source, use.url)} is no endpoint for {use.protocol}"
            wrong[Line(ATTENTION, f"{problem}: make it one like {_DEFAULT_ENDPOINTS[use.protocol]}")] = None
        else:
            if _lacks_path(use):
                problem = f"{use.source}={shown(use.source, use.url)} is used as it is"
                wrong[Line(ATTENTION, f"{problem}: append /v1/{use.signal}, or where your receiver takes them")] = None
    yield from wrong
    if not users:
        yield Line(NOTE, "there is no address to connect to")
    yield from (Line(PROGRESS, f"connecting to {_where(each)}, up to {CONNECT_TIMEOUT:.0f} s") for each in users)
    deadline = monotonic() + CONNECT_TIMEOUT
    for address, outcome in [(address, _connect(address)) for address in users]:
        yield _answer(address, users[address], outcome, deadline)


def _lacks_path(use: _Use) -> bool:
    # To the endpoint of all signals the exporters over HTTP append it.
    return use.protocol != "grpc" and use.signal.upper() in use.source and urlsplit(use.url).path in ("", "/")


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
