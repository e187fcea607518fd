"""Write the rules: ``python -m alerts``. With ``--check``, say which files are not what would be written."""

from __future__ import annotations

import sys
from pathlib import Path

from dashboards.generated import write

from .calls import CALLS, RECORDED
from .queues import QUEUES
from .rules import rule_file
from .streams import STREAMS
from .telemetry import TELEMETRY
from .usage import USAGE

FOLDER = Path(__file__).resolve().parent


def build() -> dict[Path, str]:
    """Return every file of rules."""
    return {
        FOLDER / "recording.yaml": rule_file([RECORDED]),
        FOLDER / "alerts.yaml": rule_file([CALLS, STREAMS, USAGE, QUEUES, TELEMETRY]),
    }


if __name__ == "__main__":
    sys.exit(write("alerts", build(), sys.argv[1:]))
