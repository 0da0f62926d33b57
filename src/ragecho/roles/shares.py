"""Several processes that take connections from one listener: how many each has, so that none takes more than its share.

The kernel gives a connection to whoever asks first. A client keeps its connection for many requests, so without this four
clients may all end up with one process while the others have nothing to do.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

# Who finds this takes over an open port instead of opening one.
LISTEN_FD_VARIABLE: Final = "RAGECHO_LISTEN_FD"
FD_VARIABLE: Final = "RAGECHO_SHARES_FD"
PLACE_VARIABLE: Final = "RAGECHO_SHARES_PLACE"

_BYTES: Final = 4  # a signed number for each process
_ABSENT: Final = -1
_MOST: Final = (1 << 31) - 1


class Shares:
    """The numbers of connections of all processes, in memory that they share. `place` is this process's own."""

    def __init__(self, descriptor: int, place: int) -> None:
        self._memory = mmap.mmap(descriptor, 0)
        self._numbers = memoryview(self._memory).cast("i")
        self._place = place

    @classmethod
    def inherited(cls) -> Self | None:
        """Return what the process that started this one has prepared; None when this one serves alone."""
        if FD_VARIABLE not in os.environ:
            return None
        return cls(int(os.environ[FD_VARIABLE]), int(os.environ[PLACE_VARIABLE]))

    def tell(self, connections: int) -> None:
        """Let the others know how many this process has."""
        self._numbers[self._place] = connections

    def leave(self) -> None:
        """Let the others know that this process takes none any more."""
        self._numbers[self._place] = _ABSENT

    def least_of_others(self) -> int:
        """Return how many the process with the fewest has; more than anybody can have when there is no other."""
        others = (number for place, number in enumerate(self._numbers) if place != self._place)
        return min((number for number in others if number != _ABSENT), default=_MOST)


@contextmanager
def shared_numbers(processes: int) -> Iterator[int]:
    """Yield a descriptor for `Shares` of so many processes, none of which serves yet."""
    with tempfile.TemporaryFile(prefix="ragecho-shares-") as file:
        file.write(_ABSENT.to_bytes(_BYTES, "little", signed=True) * processes)
        file.flush()
        yield file.fileno()
