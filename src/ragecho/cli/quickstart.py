"""`ragecho quickstart`: one answer from files, through the very server that `ragecho serve` starts, gone afterwards."""

from pathlib import Path
from typing import Annotated

import typer

from ragecho.cli.answers import show_answer
from ragecho.cli.connection_options import AsJson
from ragecho.cli.errors import CliError
from ragecho.cli.ingest import summary
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note, printable, waiting
from ragecho.cli.passing_server import passing_server
from ragecho.cli.uploading import FileReport, find_files, ingest_files
from ragecho_sdk import Echo

app = App()


@app.command()
def quickstart(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files, or folders with all that is in them.")],
    *,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="Longest wait for the files.")] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Answer one question from files, leaving no server behind.

    A server is started in a temporary folder, the files are uploaded, the question is asked, and all of it is removed.
    """
    files = find_files(paths)
    is_shown = not as_json
    with passing_server(is_shown=is_shown) as (server, api_key), Echo(server, api_key=api_key) as echo:
        reports = ingest_files(echo, files, timeout_seconds=timeout, is_progress_shown=is_shown)
        _note_failures(reports)
        if all(report.error for report in reports):
            raise CliError("none of the files could be read.")
        if is_shown:
            note(f"{summary(reports)}.")
        with waiting("Reading the documents", is_shown=is_shown):
            answer = echo.ask(question)
    if as_json:
        emit_json({**answer.raw, "documents": [report.as_json() for report in reports]})
        return
    show_answer(answer)


def _note_failures(reports: list[FileReport]) -> None:
    for report in reports:
        if report.error:
            note(f"{printable(report.path)}: {printable(report.error)}", style="red")
