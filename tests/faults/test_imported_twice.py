"""A runtime that is imported twice while it is instrumented."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from unmoved import CALL

FOLDER = Path(__file__).resolve().parent


def test_a_runtime_that_is_imported_again(protocol: Path) -> None:
    """Both copies work. The one that was patched goes on recording, and the next round is about the new one."""
    path = os.pathsep.join(map(str, (FOLDER, FOLDER.parent)))
    done = subprocess.run(
        [sys.executable, str(FOLDER / "imported_twice.py")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = {
        "before": [CALL, []],
        "first copy": [CALL, []],
        "second copy": [[], []],
        "first copy's methods are its own": True,
        "first copy, next round": [[], []],
        "second copy, next round": [[], CALL],
        "second copy's methods are its own": True,
        "answers": ["Hello"],
    }
    assert json.loads(done.stdout) == {"reload": found, "import": found}
