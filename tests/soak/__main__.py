"""The soak: ``python tests/soak --minutes 10`` drives the instrumented runtime and fails if anything is left over."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[1:1] = [str(TESTS), str(TESTS.parent / "examples")]

from cycles import run  # noqa: E402
from findings import Result, Settings  # noqa: E402
from mock_provider import mock_provider  # noqa: E402

_DESCRIPTION = """\
Drives the runtime under instrumentation at full speed: chats, streams with every ending, bodies torn at odd bytes,
retries, fallbacks, breakers, limiters, queues, embeddings, reranking, batches, errors of every kind, a transport and a
mapper of the application's, ten thousand models that nobody has heard of, several threads, hooks that raise now and
then, an exporter that raises and refuses behind a queue that is full, one that hangs, and instrumentation that leaves
and comes back while calls are under way. The providers are inside the process, one apart.

After each cycle nothing may be left over, the metrics must tell exactly what the application did, every span must have
been exported, and every hook called once for each call. Memory must not grow after the first quarter of the time. The
exit code is 1 where one of these is violated.

Left out is what could not be counted or would change the process. It has tests of its own:
  calls that begin while there is no instrumentation, with others under way: tests/faults/test_threads.py
  exporters of metrics and logs that fail, collectors that go and come back: tests/faults/test_exporters.py
  span processors, views and logging that raise: tests/integration/test_faults.py, tests/faults/test_plugins.py
  hooks that end the program, or the span: tests/faults/test_hooks.py
  parts of the application's that are wrong: tests/integration/test_differential_parts.py, tests/fuzz
  clocks that jump, processes that fork, signals: tests/faults/test_clocks.py, tests/faults/test_processes.py,
    tests/integration/test_interrupted.py
  speech: tests/integration/test_speech.py
"""
_EVERY = 10.0


def _arguments(values: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/soak", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    length.add_argument("--seconds", type=float, help="the same in seconds")
    parser.add_argument("--cycle", type=float, default=10.0, help="seconds from one rest to the next (10)")
    parser.add_argument("--workers", type=int, default=6, help="calls at a time in the main thread (6)")
    parser.add_argument("--names", type=int, default=10_000, help="models that nobody has heard of (10000)")
    parser.add_argument("--no-socket", action="store_true", help="leave out the provider in another process")
    return parser.parse_args(values)


def _table(result: Result, seconds: float) -> Iterator[str]:
    yield f"{'calls':<44}{result.calls:>12}"
    yield f"{'calls per second':<44}{result.calls / seconds:>12.0f}"
    for (metric, labels), count in sorted(result.books.counts.items()):
        yield f"{' '.join((metric, *labels)):<80}{count:>12}"
    for what, count in result.spans.items():
        yield f"{f'spans {what}':<44}{count:>12}"
    yield f"{'rounds of instrumentation under load':<44}{result.rounds:>12}"
    for what, count in result.hooks.items():
        yield f"{f'hooks, {what}':<44}{count:>12}"
    yield f"{'lines logged about calls':<44}{result.lines:>12}"
    yield f"{'closings that collided':<44}{result.collisions:>12}"
    first, last = result.rests[len(result.rests) // 4], result.rests[-1]
    yield f"{'MiB after the warm-up, at the end':<44}{first.resident:>12.1f}{last.resident:>12.1f}"
    yield f"{'blocks after the warm-up, at the end':<44}{first.blocks:>12}{last.blocks:>12}"
    yield f"{'blocks grown, by medians':<44}{result.blocks_grown():>12.0f}"
    yield f"{'MiB grown, by medians':<44}{result.resident_grown():>12.1f}"
    yield f"{'violations':<44}{len(result.violations):>12}"
    yield from result.violations


def main(values: list[str] | None = None) -> int:
    """Run the soak.

    Args:
        values: The command line, without the program's name.

    Returns:
        The exit code.
    """
    arguments = _arguments(values)
    seconds = arguments.minutes * 60 if arguments.seconds is None else arguments.seconds
    protocol = TESTS / "protocol"
    os.environ["AI_PROTOCOL_DIR"] = str(protocol)
    for name in ("OPENAI", "ANTHROPIC", "RETRIEVAL"):
        os.environ[f"{name}_API_KEY"] = f"none-of-{name.lower()}"
    began = told = time.monotonic()

    def tell(line: str) -> None:
        nonlocal told
        if time.monotonic() - told > 0.9 * _EVERY:
            told = time.monotonic()
            sys.stdout.write(f"{told - began:6.0f} s  {line}\n")
            sys.stdout.flush()

    with contextlib.ExitStack() as stack:
        remote = None if arguments.no_socket else f"{stack.enter_context(mock_provider(protocol))}/v1"
        result = run(Settings(seconds, arguments.cycle, arguments.workers, arguments.names, remote), tell)
    sys.stdout.write("\n".join(("", *_table(result, time.monotonic() - began), "")))
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
