"""The doctor: ``python -m opentelemetry_instrumentation_ailib`` says what is wrong with an installation.

The checks of what is installed and patched are here, those of what the environment says in the modules ``doctor*``.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from packaging.requirements import Requirement

from opentelemetry_instrumentation_ailib import (
    ROWS,
    AiLibInstrumentor,
    __version__,
    doctor,
    doctor_exporters,
    documented,
)
from opentelemetry_instrumentation_ailib.config import DOCUMENTED_API_VARIABLE, Config
from opentelemetry_instrumentation_ailib.doctor import ATTENTION, NOTE, OK, PROGRESS, Line
from opentelemetry_instrumentation_ailib.package import _instruments
from opentelemetry_instrumentation_ailib.patching import Addition, Arrival

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.patching import Row

_PACKAGE = "opentelemetry-instrumentation-ailib"
_REQUIRED = (
    "opentelemetry-api",
    "opentelemetry-instrumentation",
    "opentelemetry-semantic-conventions",
    "opentelemetry-util-genai",
    "wrapt",
)
_OPTIONAL = {
    "opentelemetry-sdk": f"nothing is recorded without it: pip install '{_PACKAGE}[otlp]'",
    "opentelemetry-distro": f"opentelemetry-instrument sets no providers without it: pip install '{_PACKAGE}[otlp]'",
    "opentelemetry-exporter-otlp-proto-grpc": "it sends OTLP over gRPC",
    "opentelemetry-exporter-otlp-proto-http": "it sends OTLP over HTTP",
    "opentelemetry-exporter-prometheus": "it lets Prometheus scrape the process",
    "opentelemetry-instrumentation-httpx": "it adds the HTTP client's own span under the transport stage",
    "opentelemetry-instrumentation-logging": "it exports log records",
}

# --- versions ---


def installation() -> Iterator[Line]:
    """Python, this package, and whether ``opentelemetry-instrument`` can find it."""
    yield Line(OK, f"python {platform.python_version()}")
    if metadata.entry_points(group="opentelemetry_instrumentor", name="ailib"):
        yield Line(OK, f"{_PACKAGE} {__version__}")
    else:
        problem = f"{_PACKAGE} {__version__} is not installed, only importable: opentelemetry-instrument cannot find it"
        yield Line(ATTENTION, f"{problem}; pip install it")


def runtime() -> Iterator[Line]:
    """ai-lib-python, in the supported range."""
    for requirement in map(Requirement, _instruments):
        yield _distribution(requirement, "there is nothing to instrument without it", needed=True)


def dependencies() -> Iterator[Line]:
    """What this package needs, and what it works with."""
    ranges: dict[str, Requirement] = {}
    with contextlib.suppress(metadata.PackageNotFoundError):
        for requirement in map(Requirement, metadata.requires(_PACKAGE) or ()):
            ranges.setdefault(requirement.name, requirement)
    for name in _REQUIRED:
        yield _distribution(ranges.get(name, Requirement(name)), f"{_PACKAGE} needs it", needed=True)
    for name, purpose in _OPTIONAL.items():
        yield _distribution(ranges.get(name, Requirement(name)), purpose, needed=False)


def _distribution(requirement: Requirement, purpose: str, *, needed: bool) -> Line:
    name, supported = requirement.name, str(requirement.specifier)
    conflict = get_dependency_conflicts([requirement])
    if conflict is None:
        return Line(OK, f"{name} {metadata.version(name)}" + (f" (supported: {supported})" if supported else ""))
    if conflict.found:
        return Line(ATTENTION, f"{conflict.found} is not in the supported range: pip install '{name}{supported}'")
    if needed:
        return Line(ATTENTION, f"{name} is not installed, {purpose}: pip install '{name}{supported}'")
    return Line(NOTE, f"{name} is not installed; {purpose}")


# --- patch rows ---


def rows() -> Iterator[Line]:
    """Every row of the patch tables, resolved against the installed runtime."""
    conflict = get_dependency_conflicts(_instruments)
    if conflict and not conflict.found:
        yield Line(NOTE, "not checked: ai-lib-python is not installed")
        return
    yield Line(PROGRESS, "importing ai-lib-python")
    instrumented = AiLibInstrumentor().is_instrumented_by_opentelemetry
    for row in ROWS:
        yield _row(row, instrumented=instrumented)
    if Config.read(stages=(), chunk_timing=True).documented_api:
        for row in documented.ROWS:
            if isinstance(row, Addition):
                yield _addition(row, instrumented=instrumented)
            elif not isinstance(row, Arrival):
                yield _row(row, instrumented=instrumented)
    else:
        yield Line(NOTE, f"the documented API is switched off by {DOCUMENTED_API_VARIABLE}")
    if not instrumented and doctor.AGENT in sys.modules and not doctor.disabled():
        yield Line(ATTENTION, f"nothing is patched in this process, {doctor.IN_VAIN}")
    elif not instrumented:
        yield Line(NOTE, "nothing is patched in this process: run the doctor under opentelemetry-instrument to see it")


def _addition(row: Addition, *, instrumented: bool) -> Line:
    target = f"{row.module}:{row.target}"
    try:
        there = row.is_there()
    except Exception as error:
        return Line(NOTE, f"{target} cannot be added ({type(error).__name__}: {error})")
    if not there:
        state = "is not added: find out what took it away after instrument()" if instrumented else "is to be added"
        return Line(ATTENTION if instrumented else OK, f"{target} {state}")
    return Line(OK, f"{target} is added" if instrumented else f"{target} is the runtime's own")


def _row(row: Row, *, instrumented: bool) -> Line:
    target = f"{row.module}:{row.target}"
    try:
        _, _, attribute = row.resolve()
    except Exception as error:
        problem = f"{target} is missing, what it does stays out of the telemetry ({type(error).__name__}: {error})"
        return Line(ATTENTION, f"{problem}; install a release in the supported range, or report it if this one is")
    if not instrumented:
        return Line(OK, f"{target} is there")
    ours = [patch.wrapper for patch in AiLibInstrumentor._patcher._patches]
    while attribute is not None:  # Another library may have put its wrapper around ours.
        if any(attribute is wrapper for wrapper in ours):
            return Line(OK, f"{target} is patched")
        attribute = getattr(attribute, "__wrapped__", None)
    return Line(ATTENTION, f"{target} is not patched: find out what put it back after instrument()")


# --- the report ---

Check = Callable[[], Iterator[Line]]

SECTIONS: dict[str, tuple[Check, ...]] = {
    "Versions": (installation, runtime, dependencies),
    "Patch rows": (rows,),
    "Configuration": (
        doctor_exporters.providers,
        doctor.variables,
        doctor.switches,
        doctor_exporters.exporters,
    ),
    "OTLP endpoints": (doctor_exporters.endpoints,),
}

_EXAMPLES = """\
examples:
  python -m opentelemetry_instrumentation_ailib
      what is installed, what can be patched, what the environment configures

  opentelemetry-instrument python -m opentelemetry_instrumentation_ailib
      the same as your application sees it: providers set, the runtime patched

  OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317 python -m opentelemetry_instrumentation_ailib
      whether that Collector can be reached from here (directly: proxies are not used)

The exit status is 1 if a line of the report needs attention, else 0. Passwords, queries of URLs and OTLP headers are
not shown. Where the application runs with the prometheus exporter, its port is taken: set
OTEL_EXPORTER_PROMETHEUS_PORT=0 for the doctor.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report.

    Args:
        argv: The command line without the program's name; ``sys.argv`` by default.

    Returns:
        The exit status: 1 if something needs attention, else 0.
    """
    argparse.ArgumentParser(
        prog="python -m opentelemetry_instrumentation_ailib",
        description="Check what the telemetry of ai-lib-python needs, and say what to do where something is wrong.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(argv)
    wrong = 0
    for title, checks in SECTIONS.items():
        _print(title)
        for line in (line for check in checks for line in _lines(check)):
            if line.level == PROGRESS:
                sys.stderr.write(f"... {line.text}\n")
            else:
                _print(f"  {line.level:<9}  {line.text}")
            wrong += line.level == ATTENTION
        _print("")
    _print(f"Lines that need attention: {wrong}." if wrong else "Nothing needs attention.")
    return 1 if wrong else 0


def _lines(check: Check) -> Iterator[Line]:
    """Run a check; a failure of its own is a line, too, and without the error's message, which may hold a secret."""
    try:
        yield from check()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        yield Line(
            ATTENTION, f"the check {check.__name__} failed ({type(error).__name__} at {where}): please report it"
        )


def _print(text: str) -> None:
    """Print one line, whatever a variable or an error's message holds and whatever the terminal can show."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
