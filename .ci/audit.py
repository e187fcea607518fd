"""Asks pip-audit for known vulnerabilities of everything that the installed package requires, extras included.

Exits with 0 where none is known, with 1 where one is, and with 3 where nobody could be asked about some package.
pip-audit ends alike where it finds something and where it fails, and passes over what its service does not know.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PACKAGE = "opentelemetry-instrumentation-ailib[all]"
VULNERABLE, UNKNOWN = 1, 3


def required(package: str) -> dict[str, str]:
    """Return the versions of the installed distributions that a package requires, directly or not, by name.

    Args:
        package: The package, with its extras in brackets.
    """
    open_, seen = [Requirement(package)], set()
    found: dict[str, str] = {}
    while open_:
        requirement = open_.pop()
        distribution = metadata.distribution(requirement.name)
        name, extras = canonicalize_name(distribution.name), requirement.extras | {""}
        found[name] = distribution.version
        for extra in sorted(extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                open_ += [
                    needed
                    for needed in map(Requirement, distribution.requires or ())
                    if needed.marker is None or needed.marker.evaluate({"extra": extra})
                ]
    del found[canonicalize_name(Requirement(package).name)]
    return found


def verdict(report: dict[str, Any] | None) -> tuple[int, list[str]]:
    """Return the exit code for pip-audit's report, and what there is to say.

    Args:
        report: What pip-audit wrote; ``None`` if it came to no end.
    """
    if report is None:
        return UNKNOWN, ["pip-audit came to no end."]
    vulnerable, unknown = [], []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown.append(f"not audited: {package['skip_reason']}")
        for found in package.get("vulns", ()):
            names, fixes = ", ".join([found["id"], *found["aliases"]]), ", ".join(found["fix_versions"])
            vulnerable.append(f"{package['name']} {package['version']}: {names}; fixed in {fixes or 'no release'}")
    return VULNERABLE if vulnerable else UNKNOWN if unknown else 0, [*unknown, *vulnerable]


def audit(versions: dict[str, str], arguments: list[str]) -> dict[str, Any] | None:
    """Run pip-audit and return its report, or ``None``.

    Args:
        versions: The versions of the distributions to audit, by name.
        arguments: More of pip-audit's arguments.
    """
    with tempfile.TemporaryDirectory() as folder:
        pins, report = Path(folder, "requirements.txt"), Path(folder, "report.json")
        pins.write_text("".join(f"{name}=={version}\n" for name, version in sorted(versions.items())), encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(pins), "--no-deps", "--disable-pip"]
        command += ["--format", "json", "--output", str(report), "--progress-spinner", "off", *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8")
        written: dict[str, Any] | None = json.loads(report.read_text("utf-8")) if report.exists() else None
    if written is None:
        sys.stderr.write(done.stderr)
    return written


def main(arguments: list[str]) -> int:
    """Audit, and say what came of it.

    Args:
        arguments: More of pip-audit's arguments, ``--ignore-vuln`` for example.
    """
    versions = required(_PACKAGE)
    code, lines = verdict(audit(versions, arguments))
    results = {0: "no known vulnerability", VULNERABLE: "vulnerable", UNKNOWN: "this audit is incomplete"}
    print(*lines, f"{len(versions)} distributions: {results[code]}", sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
