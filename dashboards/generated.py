"""What ``python -m dashboards`` and ``python -m alerts`` share: to write files, or to say which are out of date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path


def write(module: str, built: Mapping[Path, str], arguments: list[str]) -> int:
    """Write the files, or with ``--check`` compare them; return 1 if one differs.

    Args:
        module: What writes them: ``python -m`` and this.
        built: The text of every file.
        arguments: Those of the command line.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=f"Write the {module} anew.")
    parser.add_argument("--check", action="store_true", help="write nothing, and say which files differ")
    if parser.parse_args(arguments).check:
        stale = [file.name for file, text in built.items() if not file.exists() or file.read_text("utf-8") != text]
        sys.stdout.write("".join(f"{name} differs: python -m {module}\n" for name in stale))
        return 1 if stale else 0
    for file, text in built.items():
        file.write_text(text, "utf-8", newline="\n")
    return 0
