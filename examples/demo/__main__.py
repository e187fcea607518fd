"""See what the instrumentation tells, with nothing to set up: ``python examples/demo``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

NEEDED = ("opentelemetry_instrumentation_ailib", "ai_lib_python", "opentelemetry.sdk", "prometheus_client")
MOCK = "ai_protocol_mock"

DESCRIPTION = """\
Run ai-lib-python, instrumented, against its own mock provider on a loopback port and print what
OpenTelemetry got: the traces as trees, where the time of a stream went, and the metrics as
Prometheus scrapes them. It takes a few seconds, needs no credential and no network, and ends by
itself; Ctrl-C ends it sooner."""

NEXT = """\
Where to look next: README.md (install, configure, every span and metric), and the same in
an application of your own: examples/manual (one line of code) and examples/zero_code (none)."""


def _stop(signum: int, _frame: FrameType | None) -> None:
    # There is nothing to save, and the mock provider ends with us. Leaving at once spares the reader the farewells of
    # whatever is under way.
    os.write(2, b"\nStopped.\n")
    os._exit(128 + signum)


def _missing() -> list[str]:
    missing = []
    for name in (*NEEDED, MOCK):
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            missing.append(name)
    return missing


def main() -> int:
    """Run the demo and return its exit code."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    parser = argparse.ArgumentParser("python examples/demo", description=DESCRIPTION, epilog=NEXT)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.parse_args()
    if missing := _missing():
        print(
            f"The demo needs {', '.join(missing)}. In the root of the repository, install it with\n"
            "  python -m pip install '.[all]' ai-protocol-mock",
            file=sys.stderr,
        )
        return 1
    # The demo shows the defaults, whatever this shell is set up for.
    for name in [name for name in os.environ if name.startswith(("OTEL_", "AI_"))]:
        del os.environ[name]
    if sys.stdout.encoding.lower() != "utf-8":
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    try:
        import show

        show.run()
        print(NEXT, flush=True)
    except BrokenPipeError:
        # Whoever reads our output (head, a pager) has had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
