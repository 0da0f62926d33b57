"""`ragecho models`."""

from typing import Annotated

import typer

from ragecho.cli.connection_options import AsJson
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, human_size, show_table, status_mark
from ragecho.cli.settings import load_settings

app = App(help="List and fetch model weights.")


@app.command("ls")
def list_models(*, as_json: AsJson = False) -> None:
    """List the models that Echo knows and whether their weights are here, complete and unchanged."""
    from ragecho.engines.models.catalogue import CATALOGUE
    from ragecho.engines.models.store import missing_files, model_folder
    from ragecho.platform.settings import Settings

    folder = load_settings(Settings).model_dir
    found = [
        {
            "name": spec.name,
            "role": str(spec.role),
            "licence": spec.licence,
            "size_bytes": spec.size_bytes,
            "is_present": not missing_files(folder, spec),
            "is_default": spec.is_default,
            "folder": str(model_folder(folder, spec)),
        }
        for spec in CATALOGUE.values()
    ]
    if as_json:
        emit_json({"items": found, "total": len(found)})
        return
    rows = [
        (
            model["name"],
            model["role"],
            status_mark("ready" if model["is_present"] else "missing"),
            human_size(int(str(model["size_bytes"]))),
            model["licence"],
            "default" if model["is_default"] else None,
        )
        for model in found
    ]
    show_table(
        ("NAME", "ROLE", "WEIGHTS", "SIZE", "LICENCE", ""),
        rows,
        empty="The catalogue is empty.",
        flexible="NAME",
        optional=("LICENCE",),
    )


@app.command("fetch")
def fetch_models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Which; default what a start needs.")
    ] = None,
) -> int:
    """Fetch weights once, at set-up; each file is compared with the catalogue's SHA-256.

    Nothing else in Echo downloads anything. RAGECHO_MODELS_OFFLINE=1 uses only what is in the folder already.
    """
    from ragecho.engines.models.fetch import main
    from ragecho.platform.settings import Settings

    return main(["--dir", str(load_settings(Settings).model_dir), *(names or ())])
