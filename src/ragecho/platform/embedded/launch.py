"""Runs programs so that they end with the process that started them (see `launcher.py`)."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launcher.py")
_AS_IT_IS = ("-1", "-1", "-1")


def tied_command(
    command: Sequence[str], *, death_signal: signal.Signals, identity: Sequence[str] = _AS_IT_IS
) -> list[str]:
    """`command`, wrapped so that it gets `death_signal` when its parent dies, even by SIGKILL (Linux only).

    The kernel means the parent *thread*: start it from one that lives as long as the program. `command[0]` is a full
    path. `identity` is what `Account.launch_arguments` says.
    """
    head = [sys.executable, "-I", "-S", str(_LAUNCHER)]
    return [*head, str(os.getpid()), str(int(death_signal)), *identity, "--", *command]
