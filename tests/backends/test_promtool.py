"""What Prometheus' own checker says of the files that are shipped."""

from __future__ import annotations

import subprocess
from pathlib import Path

from servers import program

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_configuration_of_the_stack_is_valid(tmp_path: Path) -> None:
    shipped = (ROOT / "examples" / "stack" / "prometheus.yaml").read_text(encoding="utf-8")
    config = tmp_path / "prometheus.yaml"
    config.write_text(shipped.replace("/etc/prometheus/alerts", str(ROOT / "alerts")), encoding="utf-8")
    done = subprocess.run(
        [program("promtool"), "check", "config", str(config)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "alerts.yaml" in done.stdout
    assert "recording.yaml" in done.stdout
