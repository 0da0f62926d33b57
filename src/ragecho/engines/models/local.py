"""Models that this installation added: files pinned by their SHA-256 in `catalogue.json` beside the weights."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

from ragecho.engines.models.catalogue import (
    CATALOGUE,
    LocalSource,
    ModelFile,
    ModelSpec,
    Pooling,
    Role,
    model_spec,
)
from ragecho.engines.models.store import model_folder
from ragecho.kernel.errors import ConfigurationError

CATALOGUE_FILE: Final = "catalogue.json"


def added_models(model_dir: Path) -> dict[str, ModelSpec]:
    """Return the added models by name. Raises `ConfigurationError` when the file cannot be read."""
    path = model_dir / CATALOGUE_FILE
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {name: _spec(entry) for name, entry in stored.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error


def known_model(model_dir: Path, name: str, role: Role) -> ModelSpec:
    """Return the entry called `name`, built in or added. Raises `ConfigurationError` as `model_spec` does."""
    return model_spec(name, role, added={} if name in CATALOGUE else added_models(model_dir))


def add_model(model_dir: Path, spec: ModelSpec, files: Mapping[str, Path], *, origin: str) -> ModelSpec:
    """Copy `files` (our name → where it is) and pin them; return the entry, its dimensions filled in where they were 0.

    The weights are files["model.onnx"]. The model is run once before it is entered, so what cannot be run is not added.
    Raises `ConfigurationError` for a name that the built-in catalogue has, files that are not there, or such a model.
    """
    if spec.name in CATALOGUE:
        raise ConfigurationError(f"'{spec.name}' is in the built-in catalogue; choose another name.")
    if not spec.name.strip() or set(spec.name) & set('/\\:\0, "'):
        raise ConfigurationError("A model's name has no slashes, colons, commas, quotes or spaces.")
    try:
        pinned = tuple(_pin(name, path) for name, path in files.items())
        spec = replace(spec, files=pinned, sources=(LocalSource(origin),))
        folder = model_folder(model_dir, spec)
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in files.items():
            if path.resolve() != (folder / name).resolve():
                shutil.copyfile(path, folder / name)
        try:
            spec = _checked(spec, model_dir)
        except ConfigurationError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        _enter(model_dir, spec)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or model_dir}: {error.strerror}") from error
    return spec


def _pin(name: str, path: Path) -> ModelFile:
    with path.open("rb") as stream:
        return ModelFile(name, file_digest(stream, "sha256").hexdigest(), path.stat().st_size)


def _checked(spec: ModelSpec, model_dir: Path) -> ModelSpec:
    """Run the model on a few words; return the entry with its dimensions."""
    import numpy as np

    from ragecho.engines.models.onnx import OnnxModel

    model = OnnxModel(spec, model_dir)
    try:
        pair = "A passage." if spec.role is Role.RERANKER else None
        output = np.asarray(model.run(model.encode(f"{spec.query_prefix}A question?", pair)))
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"{spec.name} cannot be run: {error}") from error
    if not np.isfinite(output).all():
        raise ConfigurationError(f"{spec.name} gives numbers that are none.")
    if spec.role is Role.RERANKER:
        return spec
    if output.ndim != (1 if spec.pooling is Pooling.NONE else 2):
        raise ConfigurationError(
            f"The first output of {spec.name} has {output.ndim} dimensions for one text: "
            + ("it pools itself; use --pooling none." if output.ndim == 1 else "name how tokens are pooled.")
        )
    width = int(output.shape[-1])
    if spec.dimensions > width:
        raise ConfigurationError(f"{spec.name} has {width} dimensions, not {spec.dimensions}.")
    if too_wide := [one for one in spec.matryoshka if one >= (spec.dimensions or width)]:
        raise ConfigurationError(
            f"{spec.name} has {spec.dimensions or width} dimensions; {max(too_wide)} are not fewer."
        )
    return replace(spec, dimensions=spec.dimensions or width)


def _enter(model_dir: Path, spec: ModelSpec) -> None:
    entries = {**added_models(model_dir), spec.name: spec}
    stored = {name: {**asdict(entry), "sources": _origins(entry)} for name, entry in sorted(entries.items())}
    with tempfile.NamedTemporaryFile("w", dir=model_dir, delete=False, encoding="utf-8") as target:
        json.dump(stored, target, indent=1)
    Path(target.name).chmod(0o644)
    Path(target.name).replace(model_dir / CATALOGUE_FILE)


def _origins(spec: ModelSpec) -> Sequence[str]:
    return [str(source) for source in spec.sources]


def _spec(entry: Mapping[str, Any]) -> ModelSpec:
    return ModelSpec(
        name=entry["name"],
        role=Role(entry["role"]),
        licence=entry["licence"],
        files=tuple(ModelFile(**file) for file in entry["files"]),
        sources=tuple(LocalSource(origin) for origin in entry["sources"]),
        max_tokens=entry["max_tokens"],
        languages=tuple(entry["languages"]),
        dimensions=entry["dimensions"],
        pooling=Pooling(entry["pooling"]),
        query_prefix=entry["query_prefix"],
        passage_prefix=entry["passage_prefix"],
        matryoshka=tuple(entry.get("matryoshka", ())),
    )
