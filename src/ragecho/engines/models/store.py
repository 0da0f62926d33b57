"""The folder of model weights: where a model's files are, and whether they are what the catalogue says."""

import hashlib
import os
from pathlib import Path
from typing import Final

from ragecho.engines.models.catalogue import ModelFile, ModelSpec, Role
from ragecho.kernel.errors import ConfigurationError

_REVISION_CHARACTERS: Final = 16
_DIR_VARIABLE: Final = "RAGECHO_MODEL_DIR"


def default_model_dir() -> Path:
    """Return what `settings.model_dir` holds: the environment, else `.env`, else the user's cache folder.

    Read here a second time because set-up must be quick and the settings take longer to import than this takes to run.
    """
    if found := _configured(_DIR_VARIABLE):
        return Path(found)
    import platformdirs

    return Path(platformdirs.user_cache_dir("ragecho")) / "models"


def configured_name(role: Role) -> str | None:
    """Return the name that RAGECHO_EMBEDDER or RAGECHO_RERANKER gives, None where the default is used."""
    return _configured(f"RAGECHO_{role.upper()}")


def _configured(variable: str) -> str | None:
    if found := os.environ.get(variable):
        return found
    if not Path(".env").is_file():
        return None
    from dotenv import dotenv_values

    return dotenv_values(".env").get(variable) or None


def model_folder(model_dir: Path, spec: ModelSpec) -> Path:
    """Return where the files of this very revision belong, whether they are there or not."""
    return model_dir / spec.name / spec.revision[:_REVISION_CHARACTERS]


def is_intact(path: Path, file: ModelFile) -> bool:
    """Tell whether `path` holds exactly the content the catalogue names. Reads the whole file (about 30 ms for 34 MB)."""
    try:
        if path.stat().st_size != file.size_bytes:
            return False
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    except OSError:
        return False


def missing_files(model_dir: Path, spec: ModelSpec) -> tuple[ModelFile, ...]:
    """Return the files that are not there or not what they should be; empty means the model can be used."""
    folder = model_folder(model_dir, spec)
    return tuple(file for file in spec.files if not is_intact(folder / file.name, file))


def installed_folder(model_dir: Path, spec: ModelSpec) -> Path:
    """Return the folder of a complete, verified model. Raises `ConfigurationError` that says how to fetch it."""
    missing = missing_files(model_dir, spec)
    if missing:
        names = ", ".join(file.name for file in missing)
        raise ConfigurationError(
            f"The model {spec.name} is not in {model_dir} ({names} missing or changed). "
            f"Fetch it with: python -m ragecho.engines.models.fetch {spec.name}",
            model=spec.name,
        )
    return model_folder(model_dir, spec)
