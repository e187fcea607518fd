"""The two applications and the mock provider's script, run as their readers run them."""

from __future__ import annotations

import functools
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from programs import EXAMPLES, Console, environment, run
from prometheus_client.parser import text_string_to_metric_families

MANUAL = str(EXAMPLES / "manual" / "app.py")
ZERO_CODE = str(EXAMPLES / "zero_code" / "app.py")
INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))

SCOPE = "opentelemetry_instrumentation_ailib"
ANSWERS = "chat: Mock response from ai-protocol-mock\nstream: Mock response from ai-protocol-mock"
CALL = "chat gpt-4o"
STAGES = [
    ("ai_lib.event.map", CALL),
    ("ai_lib.http.transport", CALL),
    ("ai_lib.http.transport", CALL),
    ("ai_lib.pipeline.process", CALL),
    ("ai_lib.pipeline.process", CALL),
]
COMPILED = [("ai_lib.request.compile", CALL), ("ai_lib.request.compile", CALL)]
CHUNK_TIME = (SCOPE, "gen_ai.client.operation.time_per_output_chunk")


@pytest.fixture(autouse=True)
def mocked(mock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the examples to the mock provider."""
    monkeypatch.setenv("AI_BASE_URL", mock)


def zero_code(**variables: str) -> Console:
    """Run the application without code of ours in it, as its README says, and read the console."""
    # Instrumentation of httpx would add spans of its own, where it is installed.
    variables = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "httpx,logging", **variables}
    exporters = ("--traces_exporter", "console", "--metrics_exporter", "console")
    done = run(INSTRUMENT, *exporters, sys.executable, ZERO_CODE, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    console = Console(done.stdout)
    assert console.text == ANSWERS
    return console


def test_one_line_of_code_puts_calls_and_stages_under_the_applications_span() -> None:
    done = run(sys.executable, MANUAL)
    assert (done.returncode, done.stderr) == (0, "")
    console = Console(done.stdout)
    assert console.text == ANSWERS
    assert console.spans == [
        STAGES[0],
        *STAGES[1:3],
        *STAGES[3:],
        ("ai_lib.protocol.load", "ask"),
        *COMPILED,
        ("ask", None),
        (CALL, "ask"),
        (CALL, "ask"),
    ]
    assert {(SCOPE, "ai_lib.requests"), (SCOPE, "gen_ai.client.operation.duration"), CHUNK_TIME} <= console.metrics


def test_no_line_of_code_gives_calls_and_stages() -> None:
    console = zero_code()
    assert console.spans == [*STAGES, ("ai_lib.protocol.load", None), *COMPILED, (CALL, None), (CALL, None)]
    assert {(SCOPE, "ai_lib.requests"), (SCOPE, "gen_ai.client.operation.duration"), CHUNK_TIME} <= console.metrics


def test_disabled_by_the_environment_nothing_is_exported() -> None:
    console = zero_code(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="ailib,httpx,logging")
    assert (console.spans, console.metrics) == ([], set())


@functools.cache
def switched_off() -> Console:
    """Run the application with stages and chunk timing switched off, once for the tests of both."""
    return zero_code(OTEL_INSTRUMENTATION_AILIB_STAGES="none", OTEL_INSTRUMENTATION_AILIB_CHUNK_TIMING="false")


def test_stages_switched_off_by_the_environment_leave_the_calls() -> None:
    assert switched_off().spans == [(CALL, None), (CALL, None)]
    assert (SCOPE, "ai_lib.stage.duration") in switched_off().metrics


def test_stages_chosen_by_the_environment_are_the_only_ones() -> None:
    console = zero_code(OTEL_INSTRUMENTATION_AILIB_STAGES="request.compile,protocol.load")
    assert console.spans == [("ai_lib.protocol.load", None), *COMPILED, (CALL, None), (CALL, None)]


def test_chunk_timing_switched_off_by_the_environment() -> None:
    assert CHUNK_TIME not in switched_off().metrics
    assert (SCOPE, "gen_ai.client.operation.time_to_first_chunk") in switched_off().metrics


# Two runs of the unchanged application, the second refused by its provider; then the process stays for the scrape.
TWICE_THEN_WAIT = """
import contextlib, os, runpy, sys
for os.environ["AI_MODEL"] in ("openai/gpt-4o", "throttled/large"):
    with contextlib.suppress(SystemExit):
        runpy.run_path(sys.argv[1], run_name="__main__")
print("waiting", flush=True)
sys.stdin.read()
"""


def scrape_zero_code() -> str:
    """Run the application under the Prometheus exporter and return the page that Prometheus would get."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    exporters = ("--traces_exporter", "none", "--metrics_exporter", "prometheus")
    with subprocess.Popen(
        [INSTRUMENT, *exporters, sys.executable, "-c", TWICE_THEN_WAIT, ZERO_CODE],
        env=environment(OTEL_EXPORTER_PROMETHEUS_HOST="127.0.0.1", OTEL_EXPORTER_PROMETHEUS_PORT=str(port)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        try:
            printed = list(iter(process.stdout.readline, "waiting\n"))
            assert process.poll() is None, printed
            return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        finally:
            process.communicate(timeout=60)
            assert process.returncode == 0


def test_prometheus_scrapes_the_four_documented_families() -> None:
    samples = {
        (sample.name, *(value for key, value in sorted(sample.labels.items()) if not key.startswith("otel_scope_"))): (
            sample.value
        )
        for family in text_string_to_metric_families(scrape_zero_code())
        for sample in family.samples
    }
    names = {
        "ai_lib_requests_total",
        "ai_lib_request_duration_seconds_count",
        "ai_lib_tokens_total",
        "ai_lib_errors_total",
    }
    assert {key: value for key, value in samples.items() if key[0] in names} == {
        ("ai_lib_requests_total", "gpt-4o", "chat", "openai"): 2,
        ("ai_lib_requests_total", "large", "chat", "throttled"): 1,
        ("ai_lib_request_duration_seconds_count", "gpt-4o", "chat", "openai"): 2,
        ("ai_lib_request_duration_seconds_count", "large", "chat", "throttled"): 1,
        ("ai_lib_tokens_total", "gpt-4o", "chat", "openai", "input"): 10,
        ("ai_lib_tokens_total", "gpt-4o", "chat", "openai", "output"): 4,
        ("ai_lib_errors_total", "large", "chat", "throttled", "http.transport", "rate_limited"): 1,
    }


@pytest.mark.parametrize("application", [MANUAL, ZERO_CODE], ids=["manual", "zero_code"])
@pytest.mark.parametrize(
    ("model", "variable"), [(None, "OPENAI_API_KEY"), ("azure-openai/gpt-4o", "AZURE_OPENAI_API_KEY")]
)
def test_a_missing_credential_is_named(application: str, model: str | None, variable: str) -> None:
    done = run(sys.executable, application, AI_MODEL=model, **{variable: None})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"{variable} is not set. It holds the credential for {model or 'openai/gpt-4o'}"
        " (AI_MODEL chooses another model).\n"
    )


@pytest.mark.parametrize("application", [MANUAL, ZERO_CODE], ids=["manual", "zero_code"])
def test_a_refused_call_is_reported_in_one_line(application: str) -> None:
    done = run(sys.executable, application, AI_MODEL="throttled/large")
    assert (done.returncode, done.stderr) == (1, "throttled/large: Rate limit exceeded. [remote]\n")


def test_the_mock_providers_script_runs_a_command_against_it_and_passes_its_exit_code_on() -> None:
    script = str(EXAMPLES / "mock_provider.py")
    look = "import os, sys, httpx; sys.exit(httpx.get(os.environ['AI_BASE_URL'][:-3] + '/health').status_code - 193)"
    done = run(sys.executable, script, sys.executable, "-c", look)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


@pytest.mark.parametrize(("arguments", "code"), [((), 2), (("--help",), 0), (("no-such-command",), 127)])
def test_the_mock_providers_script_explains_itself(arguments: tuple[str, ...], code: int) -> None:
    done = run(sys.executable, str(EXAMPLES / "mock_provider.py"), *arguments)
    said = done.stdout.partition("\n")[0] + done.stderr
    expected = (
        "There is no command 'no-such-command'.\n"
        if code == 127
        else ("usage: python examples/mock_provider.py COMMAND...")
    )
    assert (done.returncode, said) == (code, expected)
