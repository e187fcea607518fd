"""The doctor: each line of its report, what it never shows, and its exit status."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from wrapt import FunctionWrapper

from opentelemetry_instrumentation_ailib import ROWS, __main__, __version__, doctor, doctor_exporters, documented
from opentelemetry_instrumentation_ailib.patching import Addition, Arrival, Row

OURS = "opentelemetry-instrumentation-ailib"
VERSIONS: dict[str, str | None] = {
    OURS: __version__,
    "ai-lib-python": "1.1.0",
    "opentelemetry-api": "1.44.0",
    "opentelemetry-instrumentation": "0.65b0",
    "opentelemetry-semantic-conventions": "0.65b0",
    "opentelemetry-util-genai": "1.3b0",
    "wrapt": "2.0.0",
    "opentelemetry-sdk": "1.44.0",
    "opentelemetry-distro": "0.65b0",
    "opentelemetry-exporter-otlp-proto-grpc": "1.44.0",
    "opentelemetry-exporter-otlp-proto-http": "1.44.0",
    "opentelemetry-exporter-prometheus": "0.65b0",
    "opentelemetry-instrumentation-httpx": "0.65b0",
    "opentelemetry-instrumentation-logging": "0.65b0",
}
REQUIRES = ["opentelemetry-api~=1.43", "wrapt<3,>=1.17", "opentelemetry-sdk~=1.43; extra == 'otlp'"]
EXPORTERS = {
    "opentelemetry_traces_exporter": ("otlp_proto_grpc", "console"),
    "opentelemetry_metrics_exporter": ("otlp_proto_grpc", "console"),
    "opentelemetry_logs_exporter": (),
}
TARGETS = [f"{row.module}:{row.target}" for row in ROWS]
DOCUMENTED = [
    (f"{row.module}:{row.target}", isinstance(row, Addition)) for row in documented.ROWS if not isinstance(row, Arrival)
]
THERE = [
    *(f"ok {target} is there" for target in TARGETS),
    *(f"ok {target} is {'to be added' if added else 'there'}" for target, added in DOCUMENTED),
]
PATCHED = [
    *(f"ok {target} is patched" for target in TARGETS),
    *(f"ok {target} is {'added' if added else 'patched'}" for target, added in DOCUMENTED),
]
UNPATCHED = "note nothing is patched in this process: run the doctor under opentelemetry-instrument to see it"
UNCONFIGURED = [
    *(
        f"note {kind} provider: none; run through opentelemetry-instrument or set one"
        for kind in ("tracer", "meter", "logger")
    ),
    "note no OTEL_ variable that matters here is set",
    "note OTEL_SERVICE_NAME is not set: the telemetry names its service unknown_service",
    (
        "note telemetry goes nowhere until OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER, OTEL_LOGS_EXPORTER "
        "name exporters, or the application sets providers"
    ),
]
NO_ADDRESS = ["note there is no address to connect to"]
START = "start a Collector there, or set OTEL_EXPORTER_OTLP_ENDPOINT (or the signal's own) to where one is"
IN_VAIN = (
    "though opentelemetry-instrument runs: see what it says above (is its SDK installed? where the application has the "
    "port of the prometheus exporter, set OTEL_EXPORTER_PROMETHEUS_PORT=0 for the doctor)"
)
GIVES_UP = "so opentelemetry-instrument instruments nothing"


class Report(dict[str, list[str]]):
    """The lines of each section, blanks collapsed."""

    def __init__(self, code: int, output: str, progress: str) -> None:
        *sections, self.summary = output.rstrip("\n").split("\n\n")
        for title, *lines in map(str.splitlines, sections):
            self[title] = [" ".join(line.split()) for line in lines]
        self.code = code
        self.text = output + progress
        self.progress = progress.splitlines()

    @property
    def attention(self) -> list[str]:
        return [line.removeprefix("attention ") for lines in self.values() for line in lines if line[:9] == "attention"]


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """The distributions that are installed, to change: ``None`` for a missing one. And some exporters."""
    installed, find = dict(VERSIONS), metadata.Distribution.from_name

    def from_name(name: str) -> Any:
        version = installed.get(name, name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return SimpleNamespace(version=version, requires=REQUIRES) if version != name else find(name)

    def entry_points(group: str) -> list[Any]:
        return [SimpleNamespace(name=name) for name in EXPORTERS[group]]

    monkeypatch.setattr(metadata.Distribution, "from_name", from_name)
    monkeypatch.setattr(doctor_exporters, "entry_points", entry_points)
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    return installed


@pytest.fixture
def diagnose(
    versions: dict[str, str | None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Run the doctor in this process, with ``OTEL_`` variables."""

    def run(**variables: str) -> Report:
        for name, value in variables.items():
            monkeypatch.setenv(f"OTEL_{name}", value)
        code = __main__.main([])
        return Report(code, *capsys.readouterr())

    return run


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The addresses the doctor connects to; each accepts."""
    found: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], timeout: float) -> Any:
        assert timeout == 2.0
        found.append(address)
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(socket, "create_connection", connect)
    return found


@pytest.fixture
def port() -> Iterator[int]:
    """A loopback port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def spawn(*command: str, **variables: str) -> Report:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [*command, "-m", "opentelemetry_instrumentation_ailib"],
        env={**clean, **variables, "PYTHONIOENCODING": "ascii"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Report(done.returncode, done.stdout, done.stderr)


# --- the real thing ---


def test_a_process_with_nothing_configured_is_fine_and_is_told_where_telemetry_goes() -> None:
    report = spawn(sys.executable)
    assert report.code == 0
    assert list(report) == ["Versions", "Patch rows", "Configuration", "OTLP endpoints"]
    assert f"ok ai-lib-python {metadata.version('ai-lib-python')} (supported: <2,>=1.0)" in report["Versions"]
    assert report["Patch rows"] == [*THERE, UNPATCHED]
    assert report["Configuration"] == UNCONFIGURED
    assert report["OTLP endpoints"] == NO_ADDRESS
    assert report.summary == "Nothing needs attention."
    assert report.progress == ["... importing ai-lib-python"]


def test_under_opentelemetry_instrument_providers_are_set_and_every_row_is_patched() -> None:
    signals = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    agent = Path(sys.executable).with_name("opentelemetry-instrument")
    report = spawn(str(agent), sys.executable, **signals, OTEL_SERVICE_NAME="café")
    assert report.code == 0
    assert report["Patch rows"] == PATCHED
    assert report["Configuration"] == [
        *(
            f"ok {kind} provider: {provider.__module__}.{provider.__name__}"
            for kind, provider in (("tracer", TracerProvider), ("meter", MeterProvider), ("logger", LoggerProvider))
        ),
        "note OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        *sorted([*(f"note {name}=none" for name in signals), r"note OTEL_SERVICE_NAME=caf\xe9"]),
        *(
            f"note {signal}: exported nowhere, by OTEL_{signal.upper()}_EXPORTER=none"
            for signal in ("traces", "metrics", "logs")
        ),
    ]


def test_an_agent_that_gave_up_is_told_from_one_that_does_not_run() -> None:
    agent = Path(sys.executable).with_name("opentelemetry-instrument")
    variables = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "LOGS")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        report = spawn(
            str(agent),
            sys.executable,
            **variables,
            OTEL_METRICS_EXPORTER="prometheus",
            OTEL_EXPORTER_PROMETHEUS_HOST="127.0.0.1",
            OTEL_EXPORTER_PROMETHEUS_PORT=str(taken.getsockname()[1]),
        )
    assert report.attention == [
        f"nothing is patched in this process, {IN_VAIN}",
        f"meter provider: none, {IN_VAIN}",
        f"logger provider: none, {IN_VAIN}",
    ]
    assert "Address already in use" in report.text


def test_beside_an_application_that_has_the_port_of_the_prometheus_exporter_any_other_will_do() -> None:
    agent = Path(sys.executable).with_name("opentelemetry-instrument")
    signals = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "prometheus", "OTEL_LOGS_EXPORTER": "none"}
    report = spawn(str(agent), sys.executable, **signals, OTEL_EXPORTER_PROMETHEUS_PORT="0")
    assert report.attention == []
    assert report["Patch rows"] == PATCHED


def test_an_agent_that_is_kept_from_us_is_told_of_once() -> None:
    agent = Path(sys.executable).with_name("opentelemetry-instrument")
    signals = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    report = spawn(str(agent), sys.executable, **signals, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="ailib")
    assert report["Patch rows"] == [*THERE, UNPATCHED]
    assert report.attention == [f"{DISABLED}: take ailib out of it"]


def test_help_shows_examples_and_an_unknown_argument_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    for argument, code in (("--help", 0), ("--verbose", 2)):
        with pytest.raises(SystemExit) as exit_:
            __main__.main([argument])
        assert exit_.value.code == code
    output = capsys.readouterr()
    assert "\n  opentelemetry-instrument python -m opentelemetry_instrumentation_ailib\n" in output.out
    assert "unrecognized arguments: --verbose" in output.err


# --- versions ---


def test_versions_are_listed_with_their_ranges(diagnose: Any) -> None:
    report = diagnose()
    ranges = {
        "ai-lib-python": "<2,>=1.0",
        "opentelemetry-api": "~=1.43",
        "opentelemetry-sdk": "~=1.43",
        "wrapt": "<3,>=1.17",
    }
    assert report["Versions"] == [
        f"ok python {sys.version.split()[0]}",
        *(
            f"ok {name} {version}" + (f" (supported: {ranges[name]})" if name in ranges else "")
            for name, version in VERSIONS.items()
        ),
    ]
    assert (report.code, report.summary) == (0, "Nothing needs attention.")


def test_an_optional_distribution_may_be_missing(diagnose: Any, versions: dict[str, str | None]) -> None:
    versions["opentelemetry-sdk"] = versions["opentelemetry-exporter-prometheus"] = None
    report = diagnose()
    missing = [line for line in report["Versions"] if line.startswith("note")]
    assert missing == [
        f"note opentelemetry-sdk is not installed; nothing is recorded without it: pip install '{OURS}[otlp]'",
        "note opentelemetry-exporter-prometheus is not installed; it lets Prometheus scrape the process",
    ]
    assert report.code == 0


def test_without_the_runtime_no_row_is_looked_at(diagnose: Any, versions: dict[str, str | None]) -> None:
    versions["ai-lib-python"] = None
    report = diagnose()
    assert report.attention == [
        "ai-lib-python is not installed, there is nothing to instrument without it: pip install 'ai-lib-python<2,>=1.0'"
    ]
    assert report["Patch rows"] == ["note not checked: ai-lib-python is not installed"]
    assert (report.code, report.summary) == (1, "Lines that need attention: 1.")


@pytest.mark.parametrize("version", ["0.9.4", "2.0.0"])
def test_rows_are_looked_at_in_an_unsupported_runtime(
    diagnose: Any, versions: dict[str, str | None], version: str
) -> None:
    versions["ai-lib-python"] = version
    report = diagnose()
    remedy = "pip install 'ai-lib-python<2,>=1.0'"
    assert report.attention == [f"ai-lib-python {version} is not in the supported range: {remedy}"]
    assert report["Patch rows"] == [*THERE, UNPATCHED]
    assert report.code == 1


def test_what_this_package_needs_must_be_there_and_in_range(diagnose: Any, versions: dict[str, str | None]) -> None:
    versions.update({"opentelemetry-api": "1.30.0", "wrapt": None, "opentelemetry-sdk": "2.0.0"})
    report = diagnose()
    assert report.attention == [
        "opentelemetry-api 1.30.0 is not in the supported range: pip install 'opentelemetry-api~=1.43'",
        f"wrapt is not installed, {OURS} needs it: pip install 'wrapt<3,>=1.17'",
        "opentelemetry-sdk 2.0.0 is not in the supported range: pip install 'opentelemetry-sdk~=1.43'",
    ]
    assert report.code == 1


def test_a_package_that_is_only_importable_is_reported(
    diagnose: Any, versions: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    versions[OURS] = None
    monkeypatch.setattr(metadata, "entry_points", lambda **_: ())
    report = diagnose()
    problem = "is not installed, only importable: opentelemetry-instrument cannot find it"
    assert report.attention == [f"{OURS} {__version__} {problem}; pip install it"]
    assert "ok wrapt 2.0.0" in report["Versions"]


# --- patch rows ---


def test_a_row_that_does_not_resolve_says_what_that_means(diagnose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = (
        Row("ai_lib_python.client.core", "AiClient._gone", ROWS[0].build),
        Row("ai_lib_python.gone", "A.b", ROWS[0].build),
    )
    monkeypatch.setattr(__main__, "ROWS", (*gone, ROWS[0]))
    monkeypatch.setenv("OTEL_INSTRUMENTATION_AILIB_DOCUMENTED_API", "false")
    report = diagnose()
    means = "is missing, what it does stays out of the telemetry"
    remedy = "install a release in the supported range, or report it if this one is"
    assert report["Patch rows"] == [
        (
            f"attention ai_lib_python.client.core:AiClient._gone {means} "
            f"(AttributeError: ai_lib_python.client.core.AiClient has no _gone of its own); {remedy}"
        ),
        (
            f"attention ai_lib_python.gone:A.b {means} "
            f"(ModuleNotFoundError: No module named 'ai_lib_python.gone'); {remedy}"
        ),
        f"ok {TARGETS[0]} is there",
        "note the documented API is switched off by OTEL_INSTRUMENTATION_AILIB_DOCUMENTED_API",
        UNPATCHED,
    ]
    assert report.code == 1


@pytest.mark.usefixtures("instrumented")
def test_a_row_counts_as_patched_only_while_our_wrapper_is_in_place(
    diagnose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (owner, name, ours), (bare, method, wrapper) = ROWS[0].resolve(), ROWS[1].resolve()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, FunctionWrapper(ours, lambda wrapped, _, args, kwargs: wrapped(*args, **kwargs)))
        patch.setattr(bare, method, wrapper.__wrapped__)
        report = diagnose()
    assert report["Patch rows"] == [
        f"ok {TARGETS[0]} is patched",
        f"attention {TARGETS[1]} is not patched: find out what put it back after instrument()",
        *PATCHED[2:],
    ]
    assert report.code == 1


# --- configuration ---


def test_variables_are_shown_without_their_secrets(diagnose: Any, attempts: list[Any]) -> None:
    report = diagnose(
        EXPORTER_OTLP_ENDPOINT="https://user:s3cret@collector:4317/otlp?token=s3cret#s3cret",
        EXPORTER_OTLP_TRACES_ENDPOINT="user:s3cret@collector:4317\n",
        EXPORTER_OTLP_LOGS_ENDPOINT="http://user:s3cret/1@collector:4317",
        EXPORTER_OTLP_HEADERS="api-key=s3cret",
        EXPORTER_OTLP_METRICS_HEADERS="api-key=s3cret",
        INSTRUMENTATION_GENAI_UPLOAD_BASE_PATH="s3://user:s3cret@bucket/path",
        INSTRUMENTATION_GENAI_UPLOAD_TOKEN="s3cret",
        RESOURCE_ATTRIBUTES="service.name=shop,key=s3cret",
        SERVICE_NAME=" sh\x1b[1mop\n ",
        UNRELATED="s3cret",
        TRACES_EXPORTER="console",
    )
    hidden = "(not shown: there is an @ where no URL has one)"
    assert report["Configuration"][3:-1] == [
        "note OTEL_EXPORTER_OTLP_ENDPOINT=https://collector:4317/otlp",
        "note OTEL_EXPORTER_OTLP_HEADERS is set",
        f"note OTEL_EXPORTER_OTLP_LOGS_ENDPOINT={hidden}",
        "note OTEL_EXPORTER_OTLP_METRICS_HEADERS is set",
        "note OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector:4317",
        "note OTEL_INSTRUMENTATION_GENAI_UPLOAD_BASE_PATH=s3://bucket/path",
        "note OTEL_INSTRUMENTATION_GENAI_UPLOAD_TOKEN is set",
        "note OTEL_RESOURCE_ATTRIBUTES is set",
        "note OTEL_SERVICE_NAME=sh?[1mop",
        "note OTEL_TRACES_EXPORTER=console",
    ]
    problem = f"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT={hidden} is no endpoint for grpc"
    assert report.attention == [f"{problem}: make it one like http://localhost:4317"]
    assert attempts == [("collector", 4317)]
    assert "s3cret" not in report.text
    assert "user" not in report.text


@pytest.mark.parametrize(
    ("name", "value", "noted"),
    [
        ("SERVICE_NAME", "shop", False),
        ("RESOURCE_ATTRIBUTES", "service.name=shop", False),
        ("RESOURCE_ATTRIBUTES", "host.name=a", True),
    ],
)
def test_a_service_without_a_name_is_noted(diagnose: Any, name: str, value: str, noted: bool) -> None:
    note = "note OTEL_SERVICE_NAME is not set: the telemetry names its service unknown_service"
    assert (note in diagnose(**{name: value})["Configuration"]) is noted


BAD_STAGE = (
    "OTEL_INSTRUMENTATION_AILIB_STAGES: there is no stage 'map'; use all, none or a comma-separated list of "
    "protocol.load, request.compile, http.transport, pipeline.process, event.map: correct the variable"
)
BAD_MODE = (
    "some is not a valid option for `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` environment variable. "
    "Must be one of NO_CONTENT, SPAN_ONLY, EVENT_ONLY, SPAN_AND_EVENT. Defaulting to `NO_CONTENT`: correct the variable"
)
DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS keeps opentelemetry-instrument from ai-lib-python"
INSTALLED = "to one of console, otlp_proto_grpc, none"
UNINSTALLED_HTTP = (
    f"traces: exporter otlp_proto_http is not installed, {GIVES_UP}: "
    f"pip install opentelemetry-exporter-otlp-proto-http, or set OTEL_TRACES_EXPORTER {INSTALLED}"
)


@pytest.mark.usefixtures("attempts")
@pytest.mark.parametrize(
    ("variables", "attention"),
    [
        ({"SDK_DISABLED": " True "}, "OTEL_SDK_DISABLED=true, so nothing is recorded: unset it"),
        ({"SDK_DISABLED": "false"}, None),
        ({"PYTHON_DISABLED_INSTRUMENTATIONS": "httpx, ailib"}, f"{DISABLED}: take ailib out of it"),
        ({"PYTHON_DISABLED_INSTRUMENTATIONS": "*"}, f"{DISABLED}: take * out of it"),
        ({"PYTHON_DISABLED_INSTRUMENTATIONS": "httpx"}, None),
        ({"INSTRUMENTATION_AILIB_STAGES": "map,event.map"}, BAD_STAGE),
        ({"INSTRUMENTATION_AILIB_STAGES": "none"}, None),
        (
            {"INSTRUMENTATION_AILIB_STAGE": "none"},
            (
                "OTEL_INSTRUMENTATION_AILIB_STAGE means nothing: there are OTEL_INSTRUMENTATION_AILIB_STAGES, "
                "OTEL_INSTRUMENTATION_AILIB_CHUNK_TIMING, OTEL_INSTRUMENTATION_AILIB_DOCUMENTED_API"
            ),
        ),
        (
            {"INSTRUMENTATION_GENAI_COMPLETION_HOOK": "ours"},
            (
                "OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK=ours is no hook: "
                "install the package that has it, or name one of upload"
            ),
        ),
        ({"INSTRUMENTATION_GENAI_COMPLETION_HOOK": "upload"}, None),
        ({"INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "some"}, BAD_MODE),
        ({"TRACES_EXPORTER": " otlp , console ", "EXPORTER_OTLP_PROTOCOL": " grpc "}, None),
        ({"TRACES_EXPORTER": "otlp_proto_http"}, UNINSTALLED_HTTP),
        ({"TRACES_EXPORTER": "otlp", "EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, UNINSTALLED_HTTP),
        (
            {"TRACES_EXPORTER": "otlp", "EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", "EXPORTER_OTLP_PROTOCOL": "http/json"},
            None,
        ),
        (
            {"METRICS_EXPORTER": "otlp", "EXPORTER_OTLP_PROTOCOL": "http/json"},
            (
                f"metrics: there is no OTLP exporter for protocol http/json, {GIVES_UP}: "
                "set OTEL_EXPORTER_OTLP_PROTOCOL (or the signal's own) to grpc or http/protobuf"
            ),
        ),
        (
            {"METRICS_EXPORTER": "console,prometheus"},
            (
                f"metrics: exporter prometheus is not installed, {GIVES_UP}: "
                f"pip install opentelemetry-exporter-prometheus, or set OTEL_METRICS_EXPORTER {INSTALLED}"
            ),
        ),
        (
            {"TRACES_EXPORTER": "prometheus"},
            f"traces: exporter prometheus is not installed, {GIVES_UP}: set OTEL_TRACES_EXPORTER {INSTALLED}",
        ),
        (
            {"TRACES_EXPORTER": "console,"},
            f"traces: exporter (empty name) is not installed, {GIVES_UP}: set OTEL_TRACES_EXPORTER {INSTALLED}",
        ),
        (
            {"LOGS_EXPORTER": "console"},
            (
                f"logs: exporter console is not installed, {GIVES_UP}: "
                "pip install opentelemetry-sdk, or set OTEL_LOGS_EXPORTER to one of none"
            ),
        ),
        ({"LOGS_EXPORTER": " None "}, None),
        ({"LOGS_EXPORTER": "console", "CONFIG_FILE": "otel.yaml"}, None),
        (
            {"EXPORTER_OTLP_ENDPOINT": "collector:4318", "EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318 is no endpoint for http/protobuf: "
                "make it one like http://localhost:4318"
            ),
        ),
        (
            {"EXPORTER_OTLP_ENDPOINT": "http://collector:port"},
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:port is no endpoint for grpc: "
                "make it one like http://localhost:4317"
            ),
        ),
        (
            {
                "EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/",
                "EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://collector:4318/ is used as it is: "
                "append /v1/traces, or where your receiver takes them"
            ),
        ),
        (
            {
                "EXPORTER_OTLP_LOGS_ENDPOINT": "http://collector:4318/logs",
                "EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
                "EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            None,
        ),
        ({"EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"}, None),
    ],
)
def test_what_is_wrong_with_the_environment_and_only_that_needs_attention(
    diagnose: Any, variables: dict[str, str], attention: str | None
) -> None:
    report = diagnose(**variables)
    assert report.attention == ([attention] if attention else [])
    assert report.code == len(report.attention)


def test_exporters_of_a_configuration_file_are_left_to_it(diagnose: Any, attempts: list[Any]) -> None:
    report = diagnose(CONFIG_FILE="otel.yaml", TRACES_EXPORTER="otlp", SERVICE_NAME="shop")
    assert report["Configuration"][-1] == "note OTEL_CONFIG_FILE names the exporters: they are not checked here"
    assert report["OTLP endpoints"] == NO_ADDRESS
    assert attempts == []


# --- OTLP endpoints ---


def test_an_endpoint_that_listens_is_fine_and_one_that_does_not_needs_attention(diagnose: Any, port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_ = server.getsockname()[1]
        report = diagnose(
            EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{open_}",
            EXPORTER_OTLP_METRICS_ENDPOINT=f"http://127.0.0.1:{port}/v1/metrics",
        )
    assert report["OTLP endpoints"] == [
        f"ok 127.0.0.1:{open_} answers (traces, logs; OTEL_EXPORTER_OTLP_ENDPOINT)",
        f"attention 127.0.0.1:{port} refuses connections (metrics; OTEL_EXPORTER_OTLP_METRICS_ENDPOINT): {START}",
    ]
    assert report.progress == [
        "... importing ai-lib-python",
        f"... connecting to 127.0.0.1:{open_}, up to 2 s",
        f"... connecting to 127.0.0.1:{port}, up to 2 s",
    ]
    assert (report.code, report.summary) == (1, "Lines that need attention: 1.")


@pytest.mark.parametrize(
    ("variables", "lines", "addresses"),
    [
        ({}, NO_ADDRESS, []),
        ({"TRACES_EXPORTER": "console", "EXPORTER_OTLP_PROTOCOL": "grpc"}, NO_ADDRESS, []),
        (
            {"TRACES_EXPORTER": "otlp", "METRICS_EXPORTER": "otlp_proto_http", "LOGS_EXPORTER": "otlp"},
            [
                "ok localhost:4317 answers (traces, logs; default endpoint)",
                "ok localhost:4318 answers (metrics; default endpoint)",
            ],
            [("localhost", 4317), ("localhost", 4318)],
        ),
        (
            {
                "EXPORTER_OTLP_ENDPOINT": "http://c",
                "EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
                "LOGS_EXPORTER": "none",
            },
            [
                "ok c:80 answers (traces; OTEL_EXPORTER_OTLP_ENDPOINT)",
                "ok c:443 answers (metrics; OTEL_EXPORTER_OTLP_ENDPOINT)",
            ],
            [("c", 80), ("c", 443)],
        ),
        (
            {"EXPORTER_OTLP_TRACES_ENDPOINT": " [::1]:4317 ", "TRACES_EXPORTER": " otlp "},
            ["ok [::1]:4317 answers (traces; OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)"],
            [("::1", 4317)],
        ),
        (
            {"EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318"},
            [
                (
                    "note c:4318 answers (traces; OTEL_EXPORTER_OTLP_TRACES_ENDPOINT); "
                    "port 4318 is seldom grpc: check OTEL_EXPORTER_OTLP_PROTOCOL"
                )
            ],
            [("c", 4318)],
        ),
        ({"EXPORTER_OTLP_ENDPOINT": "unix:///run/otel.sock"}, NO_ADDRESS, []),
    ],
)
def test_each_address_is_tried_once_as_the_exporters_take_it(
    diagnose: Any, attempts: list[Any], variables: dict[str, str], lines: list[str], addresses: list[Any]
) -> None:
    report = diagnose(**variables)
    assert report["OTLP endpoints"] == lines
    assert sorted(attempts) == sorted(addresses)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (ConnectionRefusedError(), "refuses connections"),
        (TimeoutError(), "does not answer within 2 s"),
        (socket.gaierror(-2, "unknown"), "is not a known host"),
        (UnicodeError("label too long"), "is not a known host"),
        (OSError(113, "No route to host"), "cannot be reached (No route to host)"),
    ],
)
def test_why_a_connection_failed_is_said(
    diagnose: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, problem: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    report = diagnose(EXPORTER_OTLP_TRACES_ENDPOINT="http://c:4317")
    assert report.attention == [f"c:4317 {problem} (traces; OTEL_EXPORTER_OTLP_TRACES_ENDPOINT): {START}"]
    assert report.code == 1


def test_a_name_that_takes_long_to_look_up_holds_nothing_up(diagnose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: released.wait() and SimpleNamespace(close=id))
    monkeypatch.setattr(doctor_exporters, "CONNECT_TIMEOUT", 0.01)
    try:
        report = diagnose(EXPORTER_OTLP_TRACES_ENDPOINT="http://c:4317")
    finally:
        released.set()
    problem = "c:4317 does not answer within 0 s"
    assert report.attention == [f"{problem} (traces; OTEL_EXPORTER_OTLP_TRACES_ENDPOINT): {START}"]


# --- the doctor itself ---


def test_a_check_that_fails_becomes_a_line_and_the_others_go_on(diagnose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[doctor.Line]:
        yield doctor.Line(doctor.OK, "so far")
        raise RuntimeError("s3cret")

    monkeypatch.setitem(__main__.SECTIONS, "Versions", (broken, __main__.runtime))
    report = diagnose()
    line = broken.__code__.co_firstlineno + 2
    assert report["Versions"] == [
        "ok so far",
        f"attention the check broken failed (RuntimeError at test_doctor.py:{line}): please report it",
        "ok ai-lib-python 1.1.0 (supported: <2,>=1.0)",
    ]
    assert report["Configuration"] == UNCONFIGURED
    assert report.code == 1
