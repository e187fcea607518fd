"""Prometheus' own tool, which checks rules and tests them; and the metrics that a query names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: str | Path, text: str | None = None) -> str:
    """Run ``promtool`` (from ``PROMTOOL`` or the path), fail unless it is content, and return what it says.

    ``text`` is what it reads from its standard input. Without the tool, the test is skipped on a developer's machine
    and fails in CI.
    """
    tool = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if tool is None:
        missing = "promtool is missing: apt-get install prometheus, or set PROMTOOL to its path"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    done = subprocess.run([tool, *arguments], input=text, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def metrics_in(query: str) -> set[str]:
    """Return the names of the series that a query selects; a selector without a name has none."""
    plain = re.sub(r'"[^"]*"', "", query)
    plain = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", plain)
    plain = re.sub(r"\b(?:by|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", plain)
    names = re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?![\w:]*\s*\()", plain)
    return set(names) - {"and", "or", "unless", "offset", "bool"}
