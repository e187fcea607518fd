"""What it costs to import the instrumentation and to switch it on, each time in a process that never did either.

Run as a program it does so once and prints what it saw, in JSON. The application that it stands for has OpenTelemetry's
SDK set up, and the runtime imported unless ``--without-runtime`` is given. Modules that it names on standard input are
imported before.
"""

from __future__ import annotations

import importlib
import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from loads import CLOCKS

_RUNTIME = "ai_lib_python"
_WITHOUT_RUNTIME = "--without-runtime"


def _once(clock: str, *arguments: str, imported: Sequence[str] = ()) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, clock, *arguments],
        input=json.dumps(imported),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _from(name: str) -> str:
    first, *others = name.split(".")
    if first in sys.stdlib_module_names:
        return "the standard library"
    return ".".join((first, *others[:1])) if first == "opentelemetry" else first


def startup(clock: str, times: int) -> dict[str, Any]:
    """Measure the import and ``instrument()``.

    Args:
        clock: ``wall`` or ``cpu``.
        times: How many processes are started for each figure, which is their median.

    Returns:
        Milliseconds of the ``import``, of ``instrument()`` (what it imports imported before), of ``instrument()`` with
        all its imports (``instrument_first``), and of that before the runtime is imported (``instrument_before``); how
        many modules the application had not imported, by where they come from; how many of them are the runtime's.
    """
    first = [_once(clock) for _ in range(times)]
    before = [_once(clock, _WITHOUT_RUNTIME) for _ in range(times)]
    needed = first[0]["instrument_modules"]
    again = [_once(clock, imported=needed) for _ in range(times)]
    modules = [*first[0]["import_modules"], *needed]
    foreign = {*modules, *before[0]["import_modules"], *before[0]["instrument_modules"]}

    def median(runs: list[dict[str, Any]], key: str) -> float:
        return statistics.median(float(run[key]) for run in runs)

    return {
        "import": median(first, "import"),
        "instrument": median(again, "instrument"),
        "instrument_first": median(first, "instrument"),
        "instrument_before": median(before, "instrument"),
        "modules": dict(Counter(map(_from, modules)).most_common()),
        "runtime_modules": sum(name.partition(".")[0] == _RUNTIME for name in foreign),
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return the findings for people."""
    return [
        "start (ms)",
        f"  import opentelemetry_instrumentation_ailib{found['import']:11.1f}",
        f"  instrument(){found['instrument']:41.1f}",
        f"  instrument(), with what it imports{found['instrument_first']:19.1f}",
        f"  the same before the runtime is imported{found['instrument_before']:14.1f}",
        "  modules that the application had not imported: "
        + ", ".join(f"{count} of {name}" for name, count in found["modules"].items()),
        f"  modules of the runtime among them, imported before or not: {found['runtime_modules'] or 'none'}",
    ]


def _application(with_runtime: bool) -> None:
    from opentelemetry import metrics, trace
    from opentelemetry._logs import set_logger_provider
    from sdk import Sdk

    sdk = Sdk()
    trace.set_tracer_provider(sdk.tracer_provider)
    metrics.set_meter_provider(sdk.meter_provider)
    set_logger_provider(sdk.logger_provider)
    if with_runtime:
        importlib.import_module(_RUNTIME)


def _main(clock: str, *arguments: str) -> None:
    now = CLOCKS[clock]
    _application(_WITHOUT_RUNTIME not in arguments)
    known = set(sys.modules)
    started = now()
    package = importlib.import_module("opentelemetry_instrumentation_ailib")
    imported = now()
    by_import = [name for name in sys.modules if name not in known]
    for name in json.load(sys.stdin):
        # Not everything in sys.modules can be imported by that name.
        with suppress(ImportError):
            importlib.import_module(name)
    known = set(sys.modules)
    instrumentor = package.AiLibInstrumentor()
    switched = now()
    instrumentor.instrument()
    done = now()
    by_instrument = [name for name in sys.modules if name not in known]
    instrumentor.uninstrument()
    found = {
        "import": (imported - started) * 1e3,
        "instrument": (done - switched) * 1e3,
        "import_modules": by_import,
        "instrument_modules": by_instrument,
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
