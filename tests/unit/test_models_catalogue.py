import re
from pathlib import Path

import pytest

from ragecho.engines.models.catalogue import (
    BGE_SMALL_EN,
    CATALOGUE,
    ConvertedSource,
    LocalSource,
    ModelSpec,
    Role,
    default_models,
    model_spec,
)
from ragecho.engines.models.reranker import OnnxReranker
from ragecho.engines.models.store import default_model_dir, installed_folder
from ragecho.kernel.errors import ConfigurationError
from ragecho.platform.settings import Settings


@pytest.mark.parametrize("spec", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_every_entry_pins_each_file_and_every_source_holds_all_of_them(spec: ModelSpec) -> None:
    assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) and file.size_bytes > 0 for file in spec.files)
    assert spec.revision == spec.files[0].sha256
    assert spec.sources
    for source in spec.sources:
        if isinstance(source, ConvertedSource):
            assert {name for name, _ in source.wheel.members} == {file.name for file in source.originals}
            continue
        assert not isinstance(source, LocalSource)
        assert {name for name, _ in source.members} == {file.name for file in spec.files}
    assert spec.licence in {"MIT", "Apache-2.0"}
    assert (spec.dimensions > 0) == (spec.role is Role.EMBEDDER)


def test_the_defaults_of_the_settings_are_what_set_up_fetches() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]  # pydantic-settings takes it, its stub does not say so
    assert {settings.embedder, settings.reranker} == {spec.name for spec in default_models()}


def test_unknown_names_and_wrong_roles_are_configuration_errors_that_list_what_is_known() -> None:
    with pytest.raises(ConfigurationError, match=r"known: all-MiniLM-L6-v2, bge-small-en-v1\.5"):
        model_spec("bge-huge", Role.EMBEDDER)
    with pytest.raises(ConfigurationError, match="known: ms-marco"):
        model_spec("bge-small-en-v1.5", Role.RERANKER)


def test_a_model_of_another_role_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no reranker"):
        OnnxReranker(BGE_SMALL_EN, tmp_path)


def test_a_missing_model_is_a_configuration_error_that_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"python -m ragecho\.engines\.models\.fetch bge-small-en-v1\.5"):
        installed_folder(tmp_path, BGE_SMALL_EN)


def test_set_up_and_settings_agree_on_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAGECHO_MODEL_DIR", raising=False)
    assert default_model_dir() == Settings().model_dir
    Path(".env").write_text("RAGECHO_MODEL_DIR=/srv/from-dotenv\n")
    assert default_model_dir() == Settings().model_dir == Path("/srv/from-dotenv")
    monkeypatch.setenv("RAGECHO_MODEL_DIR", "/srv/from-environment")
    assert default_model_dir() == Settings().model_dir == Path("/srv/from-environment")
