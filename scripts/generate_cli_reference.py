"""Write docs/reference/cli.md from the command line itself: `python scripts/generate_cli_reference.py`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragecho.cli.lazy import load
from ragecho.cli.main import ENTRIES

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
WIDTH = 96

HEAD = """\
# Command line

<!-- Made by scripts/generate_cli_reference.py; a test holds it equal to the commands. -->

`ragecho` and `python -m ragecho` are the same. `--json` prints JSON on stdout; progress and remarks go to stderr. The exit
code is 0, 1 after a failure, 2 after bad use and 130 after Ctrl-C; a failure is one line on stderr that starts with
`ragecho:`, and `RAGECHO_DEBUG=1` shows the traceback instead. Colours and progress bars appear on terminals only, and
`NO_COLOR=1` turns colours off. `ragecho --install-completion` sets up completion for the current shell.

The client commands read `RAGECHO_SERVER`, `RAGECHO_API_KEY` and `RAGECHO_WORKSPACE`, from the environment or a `.env` file
in the current folder.
"""


def reference() -> str:
    """Return the text of the reference."""
    parts = [HEAD]
    panel = ""
    for entry in (entry for entry in ENTRIES if entry.exists):
        if entry.panel != panel:
            panel = entry.panel
            parts.append(f"\n## {panel}\n")
        parts += _described(load(entry), entry.name, parent=None)
    return "".join(parts)


def _described(command: Any, name: str, *, parent: Any) -> Iterator[str]:
    title = f"{parent.command_path} {name}" if parent else f"ragecho {name}"
    context = command.context_class(
        command, info_name=name if parent else title, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH,
        resilient_parsing=True, help_option_names=["-h", "--help"],
    )  # fmt: skip
    yield f"\n### {title}\n\n```text\n{command.get_help(context)}\n```\n"
    for child, below in getattr(command, "commands", {}).items():
        yield from _described(below, child, parent=context)


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(reference())
