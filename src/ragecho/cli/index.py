"""`ragecho index`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragecho.cli.connection_options import AsJson
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json
from ragecho.cli.settings import load_settings

if TYPE_CHECKING:
    from ragecho.roles.index import Outcome

app = App(help="Compare the index with what it should hold, and mend it.")

Workspace = Annotated[str | None, typer.Option("--workspace", help="One workspace, by slug or id; default all.")]


@app.command("check")
def check_index(*, workspace: Workspace = None, as_json: AsJson = False) -> None:
    """Compare original files, documents, chunks, vectors and lexical entries; exit code 1 when something is wrong."""
    from ragecho.platform.settings import Settings
    from ragecho.roles.index import check

    outcomes = check(load_settings(Settings), workspace=workspace)
    _show(outcomes, as_json)
    if any(not outcome.health.is_healthy for outcome in outcomes):
        raise typer.Exit(1)


@app.command("rebuild")
def rebuild_index(*, workspace: Workspace = None, as_json: AsJson = False) -> None:
    """Mend what the check finds and count everything anew; documents to be processed again are queued for the workers."""
    from ragecho.platform.settings import Settings
    from ragecho.roles.index import rebuild

    _show(rebuild(load_settings(Settings), workspace=workspace), as_json)


def _show(outcomes: "list[Outcome]", as_json: bool) -> None:
    if as_json:
        emit_json([_as_data(outcome) for outcome in outcomes])
        return
    for outcome in outcomes:
        sizes = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in outcome.health.sizes.items())
        state = "healthy" if outcome.health.is_healthy else "NOT healthy"
        print(f"{outcome.workspace}: {state} ({sizes}; {len(outcome.health.checked)} comparisons)")
        for finding in outcome.health.findings:
            print(f"  {finding.check}: {finding.count} {finding.says}")
            print(f"    {', '.join(finding.samples)}")
        if (repair := outcome.repair) is not None:
            print(
                f"  rebuilt: counts renewed, {repair.documents} documents queued, {repair.jobs} jobs delivered again,"
                f" {repair.blobs} files removed"
            )


def _as_data(outcome: "Outcome") -> dict[str, Any]:
    return asdict(outcome) | {"healthy": outcome.health.is_healthy}
