"""Three minutes of ``make chaos``."""

from __future__ import annotations

import subprocess
import sys

from tests.running import ROOT


def test_three_minutes_of_random_faults_leave_everything_exact() -> None:
    command = [sys.executable, "-m", "tests.faults.chaos", "--minutes", "3", "--seed", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    print(done.stdout)
