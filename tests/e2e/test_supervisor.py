"""The supervisor with trivial children, as a real process that is really signalled and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ragecho.platform.embedded.processes import command_line_of

_DRIVER = Path(__file__).with_name("supervisor_driver.py")
_DEADLINE_SECONDS = 60.0


def wait_for[T](condition: Callable[[], T], what: str) -> T:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.02)
    return result


class Tree:
    """A supervisor process; `events` are the lines it has logged so far."""

    def __init__(self, folder: Path, scenario: str) -> None:
        self.folder = folder
        self._log = (folder / "events.jsonl").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, _DRIVER, scenario, folder], stdout=self._log, stderr=subprocess.STDOUT
        )

    @property
    def events(self) -> list[dict[str, object]]:
        text = (self.folder / "events.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def named(self, event: str, **facts: object) -> list[dict[str, object]]:
        return [e for e in self.events if e["event"] == event and facts.items() <= e.items()]

    def wait_for_event(self, event: str, count: int = 1, **facts: object) -> dict[str, object]:
        def has_happened() -> list[dict[str, object]]:
            has_ended = self.process.poll() is not None
            found = self.named(event, **facts)[count - 1 :]
            assert found or not has_ended, (self.folder / "events.jsonl").read_text(encoding="utf-8")
            return found

        return wait_for(has_happened, f"{event} {facts}")[0]

    def pid_of(self, child: str) -> int:
        pid = self.named("child.started", child=child)[-1]["pid"]
        assert isinstance(pid, int)
        return pid

    def exit_code(self) -> int:
        return self.process.wait(_DEADLINE_SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()


@pytest.fixture
def start_tree(tmp_path: Path) -> Iterator[Callable[[str], Tree]]:
    trees: list[Tree] = []

    def start(scenario: str) -> Tree:
        trees.append(Tree(tmp_path, scenario))
        return trees[-1]

    yield start
    for tree in trees:
        tree.close()


def test_a_stop_signal_ends_children_gracefully_and_the_exit_code_is_zero(start_tree: Callable[[str], Tree]) -> None:
    tree = start_tree("steady")
    tree.wait_for_event("supervisor.ready")
    tree.process.send_signal(signal.SIGTERM)
    assert tree.exit_code() == 0
    assert [e["exit_code"] for e in tree.named("child.stopped")] == [-signal.SIGTERM, -signal.SIGTERM]
    assert tree.events[-1]["event"] == "supervisor.stopped"


def test_ready_is_announced_once_and_only_after_every_child_said_so(start_tree: Callable[[str], Tree]) -> None:
    tree = start_tree("slow_to_be_ready")
    tree.wait_for_event("child.started", child="slow")
    assert not tree.named("supervisor.ready")
    (tree.folder / "go").touch()
    tree.wait_for_event("supervisor.ready")
    os.kill(tree.pid_of("slow"), signal.SIGKILL)
    tree.wait_for_event("child.ready", count=2, child="slow")
    assert len(tree.named("supervisor.ready")) == 1


def test_a_later_child_starts_when_the_others_are_ready_and_is_kept_alive_as_they_are(
    start_tree: Callable[[str], Tree],
) -> None:
    tree = start_tree("later")
    tree.wait_for_event("child.started", child="first")
    (tree.folder / "go").touch()
    tree.wait_for_event("child.started", child="later")
    names = [(e["event"], e.get("child")) for e in tree.events]
    assert names.index(("supervisor.ready", None)) < names.index(("child.started", "later"))
    os.kill(tree.pid_of("later"), signal.SIGKILL)
    tree.wait_for_event("child.started", count=2, child="later")
    tree.process.send_signal(signal.SIGTERM)
    assert tree.exit_code() == 0
    assert {e["child"] for e in tree.named("child.stopped")} == {"first", "later"}


def test_a_killed_child_is_started_again_and_the_other_is_left_alone(start_tree: Callable[[str], Tree]) -> None:
    tree = start_tree("steady")
    tree.wait_for_event("supervisor.ready")
    other = tree.pid_of("b")
    os.kill(tree.pid_of("a"), signal.SIGKILL)
    died = tree.wait_for_event("child.died", child="a")
    assert died["exit_code"] == -signal.SIGKILL
    tree.wait_for_event("child.started", count=2, child="a")
    wait_for(lambda: command_line_of(other), "the other's command line: on a busy machine it may only now be executed")
    assert len(tree.named("child.started", child="b")) == 1


def test_pauses_between_restarts_double_up_to_the_limit(start_tree: Callable[[str], Tree]) -> None:
    tree = start_tree("crashes_after_ready")
    tree.wait_for_event("child.died", count=5)
    assert [e["restart_in_ms"] for e in tree.named("child.died")][:5] == [10, 20, 40, 40, 40]


def test_a_child_that_never_comes_up_ends_the_tree(start_tree: Callable[[str], Tree]) -> None:
    tree = start_tree("broken")
    assert tree.exit_code() == 1
    assert len(tree.named("child.died")) == 3
    assert tree.named("supervisor.gave_up", child="broken")


def test_a_missing_program_ends_the_tree_at_once(start_tree: Callable[[str], Tree]) -> None:
    tree = start_tree("missing")
    assert tree.exit_code() == 1
    assert tree.named("child.not_found")


def test_a_child_that_ignores_the_stop_is_killed_after_the_grace(start_tree: Callable[[str], Tree]) -> None:
    tree = start_tree("stubborn")
    tree.wait_for_event("supervisor.ready")
    # Run in the background of a script, everything inherits an ignored SIGINT, and the supervisor heeds that.
    is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    tree.process.send_signal(signal.SIGTERM if is_ignored else signal.SIGINT)
    assert tree.exit_code() == 0
    assert tree.named("child.killed", child="stubborn")


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_children_do_not_outlive_a_supervisor_that_was_killed(start_tree: Callable[[str], Tree]) -> None:
    tree = start_tree("steady")
    tree.wait_for_event("supervisor.ready")
    pids = [tree.pid_of("a"), tree.pid_of("b")]
    tree.process.kill()
    wait_for(lambda: not any(command_line_of(pid) for pid in pids), "the children's end")


def test_a_killed_database_comes_back_while_the_children_stay(start_tree: Callable[[str], Tree]) -> None:
    tree = start_tree("database")
    tree.wait_for_event("supervisor.ready")
    child = tree.pid_of("a")
    postmaster = int((tree.folder / "data" / "postgres" / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    os.kill(postmaster, signal.SIGKILL)
    tree.wait_for_event("database.down")
    tree.wait_for_event("database.started", count=2)
    wait_for(lambda: command_line_of(child), "the child's command line")
    assert len(tree.named("child.started", child="a")) == 1
    tree.process.send_signal(signal.SIGTERM)
    assert tree.exit_code() == 0
    names = [e["event"] for e in tree.events]
    assert names.index("child.stopped") < names.index("database.stopped") < names.index("supervisor.stopped")


def test_a_file_descriptor_is_handed_to_the_child(start_tree: Callable[[str], Tree]) -> None:
    tree = start_tree("descriptor")
    wait_for((tree.folder / "received").exists, "the child's word through the pipe")
