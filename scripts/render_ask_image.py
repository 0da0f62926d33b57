"""Write docs/images/ask.svg from what `ragecho ask` really prints: `python scripts/render_ask_image.py`, beside the README's server."""

import os
import pty
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

TARGET = Path(__file__).parents[1] / "docs" / "images" / "ask.svg"
WIDTH = 100
QUESTIONS = ("What is the late fee?", "Who won the football world cup in 2014?")


def on_a_terminal(arguments: list[str]) -> str:
    """Run a command on a terminal of its own and return what it wrote there, colours included."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(WIDTH), "LINES": "40"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(  # noqa: S603 - our own program
        arguments, stdin=theirs, stdout=theirs, env=environment
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux says so when the other end is closed
                break
            if not piece:
                break
            written += piece
    os.close(ours)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}: {written.decode()}")
    return written.decode().replace("\r\n", "\n").rstrip()


def main() -> None:
    """Ask the questions and draw the terminal."""
    console = Console(record=True, width=WIDTH, force_terminal=True, color_system="truecolor", file=StringIO())
    for question in QUESTIONS:
        console.print(Text(f'$ ragecho ask "{question}"', style="bold"))
        console.print(Text.from_ansi(on_a_terminal([sys.executable, "-m", "ragecho", "ask", question])))
        console.print()
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    svg = console.export_svg(title="ragecho ask", theme=MONOKAI, unique_id="ask")
    # The picture loads nothing from elsewhere: without the fonts of a remote server any monospaced one will do.
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)
    TARGET.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
