"""`ragecho models`."""

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer

from ragecho.cli.connection_options import AsJson
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, human_size, show_table, status_mark
from ragecho.cli.settings import load_settings

app = App(help="List, fetch and add models.")


class ModelRole(StrEnum):
    """What a model is for."""

    EMBEDDER = "embedder"
    RERANKER = "reranker"


class PoolingChoice(StrEnum):
    """How token vectors become one."""

    CLS = "cls"
    MEAN = "mean"
    LAST = "last"
    NONE = "none"


@app.command("ls")
def list_models(*, as_json: AsJson = False) -> None:
    """List the models that Echo knows and whether their weights are here, complete and unchanged."""
    from ragecho.engines.models.catalogue import CATALOGUE
    from ragecho.engines.models.local import added_models
    from ragecho.engines.models.store import missing_files, model_folder
    from ragecho.platform.settings import Settings

    settings = load_settings(Settings)
    folder, used = settings.model_dir, {settings.embedder, settings.reranker}
    found = [
        {
            "name": spec.name,
            "role": str(spec.role),
            "licence": spec.licence,
            "size_bytes": spec.size_bytes,
            "is_present": not missing_files(folder, spec),
            "is_default": spec.is_default,
            "is_added": spec.name not in CATALOGUE,
            "is_configured": spec.name in used,
            "languages": list(spec.languages),
            "dimensions": spec.dimensions or None,
            "max_tokens": spec.max_tokens,
            "pooling": str(spec.pooling) if spec.dimensions else None,
            "query_prefix": spec.query_prefix,
            "passage_prefix": spec.passage_prefix,
            "sha256": spec.revision,
            "folder": str(model_folder(folder, spec)),
        }
        for spec in (*CATALOGUE.values(), *added_models(folder).values())
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
            model["dimensions"],
            " ".join(map(str, cast("list[str]", model["languages"]))),
            model["licence"],
            "configured" if model["is_configured"] else "default" if model["is_default"] else None,
        )
        for model in found
    ]
    show_table(
        ("NAME", "ROLE", "WEIGHTS", "SIZE", "DIMENSIONS", "LANGUAGES", "LICENCE", ""),
        rows,
        empty="The catalogue is empty.",
        flexible="NAME",
        optional=("LICENCE", "LANGUAGES", "DIMENSIONS"),
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
    from ragecho.engines.models.catalogue import model_spec
    from ragecho.engines.models.fetch import main
    from ragecho.engines.models.local import added_models
    from ragecho.kernel.errors import EchoError
    from ragecho.platform.settings import Settings

    model_dir = load_settings(Settings).model_dir
    known = added_models(model_dir)
    for name in names or ():
        try:
            model_spec(name, added=known)
        except EchoError as error:
            # Bad use, not a failure of the network.
            raise typer.BadParameter(error.message) from error
    return main(["--dir", str(model_dir), *(names or ())])


@app.command("add")
def add_model(
    name: Annotated[str, typer.Argument(help="What the model is to be called here.")],
    *,
    file: Annotated[
        list[str], typer.Option("--file", help="ONNX file, the weights first; with --hub a path in the repository.")
    ],
    tokenizer: Annotated[str, typer.Option(help="tokenizer.json, likewise.")] = "tokenizer.json",
    hub: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Take the files from the model hub.")] = None,
    branch: Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")] = "main",
    role: Annotated[ModelRole, typer.Option(help="What it is for.")] = ModelRole.EMBEDDER,
    pooling: Annotated[PoolingChoice, typer.Option(help="How token vectors become one.")] = PoolingChoice.MEAN,
    query_prefix: Annotated[str, typer.Option(help="Text that the model wants before a question.")] = "",
    passage_prefix: Annotated[str, typer.Option(help="Text that the model wants before a passage.")] = "",
    max_tokens: Annotated[int, typer.Option(min=8, help="Longest input, special tokens included.")] = 512,
    dimensions: Annotated[
        int, typer.Option(min=0, max=4000, help="Keep the first N dimensions (Matryoshka models only); 0 keeps all.")
    ] = 0,
    matryoshka: Annotated[
        list[int] | None,
        typer.Option(min=1, max=4000, help="Fewer dimensions that it was trained for as well; repeat for more."),
    ] = None,
    language: Annotated[list[str] | None, typer.Option(help="Language it knows; repeat for more.")] = None,
    licence: Annotated[str, typer.Option(help="Its licence.")] = "unknown",
    as_json: AsJson = False,
) -> None:
    """Add an ONNX model under a name of your own and pin its files by their SHA-256; it is run once to see that it works.

    The name then goes into RAGECHO_EMBEDDER or RAGECHO_RERANKER. On other machines, add the same files.
    """
    from ragecho.engines.models.catalogue import ModelSpec, Pooling, Role
    from ragecho.engines.models.fetch import take_from_hub
    from ragecho.engines.models.local import add_model as add
    from ragecho.platform.settings import Settings

    wanted = {"model.onnx": file[0], **{Path(more).name: more for more in file[1:]}, "tokenizer.json": tokenizer}
    spec = ModelSpec(
        name=name,
        role=Role(role),
        licence=licence,
        files=(),
        sources=(),
        max_tokens=max_tokens,
        languages=tuple(language or ("unknown",)),
        dimensions=dimensions,
        pooling=Pooling(pooling),
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
        matryoshka=tuple(sorted(set(matryoshka or ()))),
    )
    with tempfile.TemporaryDirectory(prefix="ragecho-model-") as scratch:
        files = {ours: Path(theirs).expanduser() for ours, theirs in wanted.items()}
        if hub is not None:
            files = take_from_hub(hub, branch, wanted, Path(scratch))
        origin = f"model hub {hub} ({branch})" if hub else "files"
        added = add(load_settings(Settings).model_dir, spec, files, origin=origin)
    if as_json:
        emit_json({"name": added.name, "dimensions": added.dimensions or None, "sha256": added.revision})
        return
    width = f", {added.dimensions} dimensions" if added.dimensions else ""
    print(f"{added.name}: sha256 {added.revision}{width}. Use it with RAGECHO_{added.role.upper()}={added.name}")
