"""Write the dashboards: ``python -m dashboards``. With ``--check``, say which files are not what would be written."""

from __future__ import annotations

import sys
from pathlib import Path

from . import feedback_health, overview, resilience, streaming
from .generated import write

FOLDER = Path(__file__).resolve().parent


def build() -> dict[Path, str]:
    """Return every dashboard, by its file."""
    dashboards = (overview.DASHBOARD, streaming.DASHBOARD, resilience.DASHBOARD, feedback_health.DASHBOARD)
    return {FOLDER / f"{dashboard.name}.json": dashboard.json() for dashboard in dashboards}


if __name__ == "__main__":
    sys.exit(write("dashboards", build(), sys.argv[1:]))
