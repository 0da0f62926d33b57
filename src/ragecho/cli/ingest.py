"""`ragecho ingest`."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server, WorkspaceName
from ragecho.cli.lazy import App
from ragecho.cli.output import counted, emit_json, printable, say, status_mark
from ragecho.cli.uploading import FileReport, find_files, ingest_files
from ragecho.kernel.caller import Access
from ragecho.platform.jobs.model import Priority

app = App()


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files, or folders with all that is in them.")],
    *,
    tags: Annotated[list[str] | None, typer.Option("--tag", "-t", metavar="TAG", help="Tag; repeatable.")] = None,
    access: Annotated[Access | None, typer.Option(help="Who may read the documents.")] = None,
    priority: Annotated[Priority | None, typer.Option(help="Before or after other documents of the workspace.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password of encrypted files from standard input.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until each file is ready or failed.")] = True,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="Longest wait.")] = 600.0,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> int:
    """Upload files or folders and report every file.

    Folders are searched through; hidden files and links in them are skipped. Exit code 1 if any file failed.
    """
    files = find_files(paths)
    started = time.monotonic()
    with connect(server, api_key, workspace) as echo:
        reports = ingest_files(
            echo, files, tags=tags or (), access=access, priority=priority,
            password=sys.stdin.readline().rstrip("\r\n") if password_stdin else None, is_waiting=wait, timeout_seconds=timeout,
            is_progress_shown=not as_json,
        )  # fmt: skip
    if as_json:
        emit_json({"documents": [report.as_json() for report in reports], "summary": _counts(reports)})
    else:
        show_reports(reports)
        say((f"\n{summary(reports)} · {time.monotonic() - started:.1f} s", "dim"))
    return exit_code(reports)


def exit_code(reports: Sequence[FileReport]) -> int:
    """Return 1 if any file failed or was not ready in time."""
    return 1 if any(report.error for report in reports) else 0


def show_reports(reports: Sequence[FileReport]) -> None:
    """Print one line for each file."""
    width = min(48, max(len(str(report.path)) for report in reports))
    for report in reports:
        mark = status_mark(report.status)
        mark.pad_right(12 - len(mark.plain))
        say(mark, printable(report.path).ljust(width), Text(f"  {_facts(report)}".rstrip(), style="dim"))


def _facts(report: FileReport) -> str:
    if report.error:
        return printable(report.error)
    facts = [counted(report.pages, "page")] if report.pages else []
    facts += [counted(report.chunks, "chunk")] if report.chunks else []
    facts += [f"same content as {report.duplicate_of}"] if report.duplicate_of else []
    return " · ".join(facts) or (report.id or "")


def _counts(reports: Sequence[FileReport]) -> dict[str, int]:
    return dict(Counter(report.status for report in reports))


def summary(reports: Sequence[FileReport]) -> str:
    """Return how many files came to what."""
    return ", ".join(f"{count} {status}" for status, count in _counts(reports).items())
