"""Write the rules: ``python -m alerts``. With ``--check``, say which files are not what would be written."""

from __future__ import annotations

import sys
from pathlib import Path

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


def main(arguments: list[str]) -> int:
    """Write the files, or compare them; return 1 if one differs."""
    built = build()
    if arguments == ["--check"]:
        stale = [file.name for file, text in built.items() if not file.exists() or file.read_text("utf-8") != text]
        sys.stdout.write("".join(f"{name} differs: python -m alerts\n" for name in stale))
        return 1 if stale else 0
    for file, text in built.items():
        file.write_text(text, "utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
