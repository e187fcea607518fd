"""Reads what tox left behind: did every test environment run on what it is named after, and what did pytest count?"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
RELEASES = ("1.0.1", "1.1.0")
# The release of ai-lib-python that a test environment must have installed.
RUNTIMES = {
    "oldest": re.compile(r"1\.0\.0"),
    "newest": re.compile(r"1\.(?!0\.|1\.).*"),
    **{release: re.compile(re.escape(release)) for release in RELEASES},
}
EXPECTED = [f"py{python.replace('.', '')}-{runtime}" for python in PYTHONS for runtime in ("oldest", "newest")]
BETWEEN = [f"runtime-{release}" for release in RELEASES]

# "=== 3 failed, 900 passed, 1 error in 61.20s (0:01:01) ===", with or without its rules.
CLOSING = re.compile(r"^(?:=+ )?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s(?: \([\d:]+\))?(?: =+)?$", re.MULTILINE)


def problem(name: str, environment: dict[str, Any]) -> str | None:
    """Return what is wrong with a test environment in tox's report, and print what it ran on."""
    result = environment.get("result")
    if result is None or result["skipped"]:
        return f"{name} did not run"
    python = ".".join(map(str, environment["python"]["version_info"][:3]))
    packages = dict(package.split("==") for package in environment["installed_packages"] if "==" in package)
    runtime = packages.get("ai-lib-python", "none")
    print(f"{name}: Python {python}, ai-lib-python {runtime}, {result['duration']:.0f} s")
    if not result["success"]:
        return f"{name} failed"
    interpreter, release = name.split("-")
    if interpreter not in ("py" + "".join(python.split(".")[:2]), "runtime"):
        return f"{name} ran on Python {python}"
    if not RUNTIMES[release].fullmatch(runtime):
        return f"{name} ran with ai-lib-python {runtime}"
    return None


def verify(report: Path, expected: list[str]) -> int:
    """Return 1 if an environment is missing, was skipped, failed or ran on something else; 0 otherwise."""
    environments = json.loads(report.read_text("utf-8"))["testenvs"]
    problems = [found for name in expected if (found := problem(name, environments.get(name, {})))]
    print(*problems or [f"All {len(expected)} ran."], sep="\n")
    return 1 if problems else 0


def totals(log: Path) -> int:
    """Print pytest's closing lines and their sum; return 1 unless there is one for each environment."""
    counts: Counter[str] = Counter()
    closing = [found[1] for found in CLOSING.finditer(log.read_text("utf-8", "replace"))]
    for line in closing:
        print(line)
        counts.update({kind.removesuffix("s"): int(count) for count, kind in re.findall(r"(\d+) ([a-z]+)", line)})
    failed = counts["failed"] + counts["error"]
    print(
        f"{counts['passed']} passed, {failed} failed" + (f", {counts['skipped']} skipped" if counts["skipped"] else "")
    )
    return 0 if len(closing) == len(EXPECTED) and not failed else 1


if __name__ == "__main__":
    *options, path = sys.argv[1:]
    if "--totals" in options:
        sys.exit(totals(Path(path)))
    sys.exit(verify(Path(path), BETWEEN if "--between" in options else EXPECTED))
