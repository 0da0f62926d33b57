"""Reads the command blocks of a Markdown page and runs them in bash, in order, as a reader would.

    ```sh                      every line is run; the block must exit with 0
    ```console                 lines that begin with `$ ` are run one by one; what follows each must be in its output
    ```sh background           stays running; the reader goes on when it says `Echo is ready at`, or `background=WORDS`
    ```sh skip=REASON          is not run; the reason is part of the test's output
    <!-- test: stop -->        stop the page's newest background block here

In shown output `…` stands for anything, and durations, ids, times, scores and keys match whatever their value is.
Addresses that every reader replaces by their own are replaced here as well (`Reader.replacements`).
"""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

READY = "Echo is ready at "
DEADLINE_SECONDS = 240.0

_FENCE = re.compile(r"^```(?P<info>.*)$")
_STOP = "<!-- test: stop -->"
_VOLATILE = (
    (re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\becho_\w{8}_[\w-]{43}"), "<key>"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|\+\d\d:\d\d)?"), "<time>"),
    (re.compile(r"\b\d+(?:\.\d+)? (ms|s)\b"), r"<n> \1"),
    (re.compile(r"\d+\.\d+"), "<n>"),
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of commands. `line` is where it begins, for messages."""

    page: Path
    line: int
    language: str
    attributes: Mapping[str, str]
    text: str
    is_stop: bool = False

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the command blocks and stop marks of a page, in order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        if lines[at].strip() == _STOP:
            found.append(Block(page, at + 1, "", {}, "", is_stop=True))
        opened = _FENCE.match(lines[at])
        if opened:
            end = next(n for n in range(at + 1, len(lines)) if lines[n].rstrip() == "```")
            language, *attributes = opened["info"].split() or [""]
            if language in ("sh", "console"):
                pairs = dict(item.partition("=")[::2] for item in attributes)
                found.append(Block(page, at + 1, language, pairs, "\n".join(lines[at + 1 : end])))
            at = end
        at += 1
    return found


def exchanges(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block with the output shown after it."""
    command: list[str] = []
    shown: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield "\n".join(command), shown
            command, shown = [line[2:]], []
        elif command and not shown and command[-1].endswith("\\"):
            command.append(line)
        else:
            shown.append(line)
    if command:
        yield "\n".join(command), shown


def missing_line(shown: Sequence[str], output: str) -> str | None:
    """Return the first shown line that the output does not hold, in order; None when all are there."""
    real = [_plain(line) for line in output.splitlines()]
    at = 0
    for line in shown:
        if line.strip() in ("", "…"):
            continue
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in _plain(line).split("…")))
        at = next((n + 1 for n in range(at, len(real)) if pattern.search(real[n])), -1)
        if at < 0:
            return line
    return None


def _plain(line: str) -> str:
    for pattern, placeholder in _VOLATILE:
        line = pattern.sub(placeholder, line)
    return " ".join(line.split())


@dataclass
class Reader:
    """Someone who follows a page: a folder, variables that stay set from block to block, and processes left running."""

    folder: Path
    state: Path
    environment: Mapping[str, str]
    replacements: Sequence[tuple[re.Pattern[str], str]] = ()
    running: list["Background"] = field(default_factory=list)

    def follow(self, page: Path) -> None:
        """Run every block of the page. Raises `AssertionError` naming page, line, command and output."""
        for block in blocks_of(page):
            if block.is_stop:
                self.running.pop().stop()
            elif "skip" in block.attributes:
                continue
            elif "background" in block.attributes:
                self._start(block)
            elif block.language == "sh":
                self._run(block, block.text)
            else:
                for command, shown in exchanges(block.text):
                    output = self._run(block, command)
                    lost = missing_line(shown, output)
                    assert lost is None, f"{block}: `{command}` did not show {lost!r} but:\n{output}"

    def stop(self) -> None:
        """Stop everything that was left running, the newest first."""
        while self.running:
            self.running.pop().stop()

    def _run(self, block: Block, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", self._script(command, keeps=True)],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
            timeout=DEADLINE_SECONDS,
        )
        assert done.returncode == 0, f"{block}: exit code {done.returncode} of\n{command}\n\n{done.stdout}\n" + "".join(
            f"\nA process left running said:\n{process.said()}" for process in self.running
        )
        return done.stdout

    def _start(self, block: Block) -> None:
        wanted = block.attributes["background"] or READY
        started = Background(self._script(block.text, keeps=False), self.folder, dict(self.environment), wanted)
        self.running.append(started)
        assert started.is_ready(DEADLINE_SECONDS), f"{block}: it never said {wanted!r} but:\n{started.said()}"

    def _script(self, command: str, *, keeps: bool) -> str:
        for pattern, real in self.replacements:
            command = pattern.sub(real, command)
        before = f"set -aeo pipefail\nif [ -f {self.state} ]; then . {self.state}; fi\n"
        after = f'\n{{ export -p; printf "cd %q\\n" "$PWD"; }} > {self.state}' if keeps else ""
        return f"{before}{command}{after}"


class Background:
    """A block that stays running, and what it has said so far."""

    def __init__(self, script: str, folder: Path, environment: dict[str, str], wanted: str) -> None:
        self._wanted = wanted
        self._lines: list[str] = []
        self._seen = threading.Event()
        self._process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if self._wanted in line:
                self._seen.set()
        self._seen.set()

    def is_ready(self, seconds: float) -> bool:
        """Wait for the words; False when they did not come, or the process has ended."""
        return self._seen.wait(seconds) and self._process.poll() is None

    def said(self) -> str:
        """Return the last lines."""
        return "".join(self._lines[-25:])

    def stop(self) -> None:
        """Do what Ctrl-C does: the terminal's whole process group is told."""
        if self._process.poll() is None:
            # In the background of a script everything inherits an ignored SIGINT; nothing would stop for it there.
            is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            os.killpg(self._process.pid, signal.SIGTERM if is_ignored else signal.SIGINT)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._listener.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
