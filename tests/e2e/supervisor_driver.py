"""Run by test_supervisor.py: a supervisor over trivial children, one JSON line per event on standard output."""

import json
import os
import sys
from pathlib import Path

from ragecho.platform.embedded import EmbeddedPostgres
from ragecho.roles.supervisor import ChildSpec, Policy, Supervisor

_SLEEP = "import time; time.sleep(600)"
_IGNORE_STOP = "import pathlib, signal, sys, time; signal.signal(15, signal.SIG_IGN); pathlib.Path(sys.argv[1]).touch()"
_QUICK = Policy(backoff_first_seconds=0.01, backoff_max_seconds=0.04, early_failures_max=3, grace_seconds=30.0)


def log(event: str, /, **facts: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def python(name: str, code: str, *arguments: object, **options: object) -> ChildSpec:
    argv = [sys.executable, "-S", "-c", code, *map(str, arguments)]
    return ChildSpec(name, argv, **options)  # type: ignore[arg-type]  # the caller's keywords are ChildSpec's


def main(scenario: str, folder: Path) -> int:
    policy = _QUICK
    database = None
    match scenario:
        case "steady":
            children = [python("a", _SLEEP), python("b", _SLEEP)]
        case "slow_to_be_ready":
            go = folder / "go"
            children = [python("quick", _SLEEP), python("slow", _SLEEP, is_ready=go.exists)]
        case "later":
            go = folder / "go"
            children = [python("first", _SLEEP, is_ready=go.exists), python("later", _SLEEP, is_later=True)]
        case "crashes_after_ready":
            children = [python("crashes", "import sys; sys.exit(3)")]
        case "broken":
            children = [python("broken", "import sys; sys.exit(3)", is_ready=lambda: False)]
        case "missing":
            children = [ChildSpec("missing", ["/no/such/program"])]
        case "stubborn":
            armed = folder / "armed"
            children = [python("stubborn", f"{_IGNORE_STOP}; {_SLEEP}", armed, is_ready=armed.exists)]
            policy = Policy(grace_seconds=0.2)
        case "database":
            database = EmbeddedPostgres(folder / "data")
            children = [python("a", _SLEEP)]
        case "descriptor":
            read_end, write_end = os.pipe()
            code = f"import os, time; os.write({write_end}, b'x'); time.sleep(600)"

            def has_written() -> bool:
                return os.read(read_end, 1) == b"x"

            children = [python("writer", code, pass_fds=(write_end,), is_ready=has_written)]
            return Supervisor(children, log=log, on_ready=(folder / "received").touch, policy=policy).run()
        case _:
            raise ValueError(scenario)
    return Supervisor(children, log=log, database=database, policy=policy).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
