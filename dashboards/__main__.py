"""Write the dashboards: ``python -m dashboards``. With ``--check``, say which files are not what would be written."""

from __future__ import annotations

import sys
from pathlib import Path

from . import feedback_health, overview, resilience, streaming

FOLDER = Path(__file__).resolve().parent


def build() -> dict[Path, str]:
    """Return every dashboard, by its file."""
    dashboards = (overview.DASHBOARD, streaming.DASHBOARD, resilience.DASHBOARD, feedback_health.DASHBOARD)
    return {FOLDER / f"{dashboard.name}.json": dashboard.json() for dashboard in dashboards}


def main(arguments: list[str]) -> int:
    """Write the files, or compare them; return 1 if one differs."""
    built = build()
    if arguments == ["--check"]:
        stale = [file.name for file, text in built.items() if not file.exists() or file.read_text("utf-8") != text]
        sys.stdout.write("".join(f"{name} differs: python -m dashboards\n" for name in stale))
        return 1 if stale else 0
    for file, text in built.items():
        file.write_text(text, "utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
