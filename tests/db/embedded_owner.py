"""Run by test_embedded_postgres.py: own a server until killed; says `ready PID` when it takes queries."""

import signal
import sys
from pathlib import Path

from ragecho.platform.embedded import EmbeddedPostgres

if __name__ == "__main__":
    data_dir = Path(sys.argv[1])
    with EmbeddedPostgres(data_dir):
        pid = (data_dir / "postgres" / "postmaster.pid").read_text(encoding="utf-8").split()[0]
        sys.stdout.write(f"ready {pid}\n")
        sys.stdout.flush()
        signal.pause()
