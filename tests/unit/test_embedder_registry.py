"""Embedders are looked up by space: made once, few at a time, one set of weights for all lengths, and a fix where there is none."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from ragecho.engines.fakes import FakeEmbedder
from ragecho.engines.models.catalogue import BGE_SMALL_EN
from ragecho.engines.models.shortened import ShortenedEmbedder
from ragecho.engines.providers.build import space_model
from ragecho.engines.providers.registry import EmbedderRegistry
from ragecho.kernel.errors import ConfigurationError, Unavailable
from ragecho.kernel.ids import uuid7
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.ports.embedder import Embedder


def space(model: str, dimensions: int = 64, revision: str = "1") -> EmbeddingSpace:
    return EmbeddingSpace(uuid7(), model, revision, dimensions, "test")


class Built:
    """Notes what was made."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, wanted: EmbeddingSpace) -> Embedder:
        self.made.append(wanted.model)
        return FakeEmbedder(dimensions=64)


def test_a_model_is_made_once_whatever_the_space_is_called(tmp_path: Path) -> None:
    built = Built()
    registry = EmbedderRegistry(tmp_path, build=built)
    assert registry.of(space("a")) is registry.of(space("a"))
    assert built.made == ["a"]
    registry.of(space("a", revision="2"))
    assert built.made == ["a", "a"]


def test_only_the_models_used_last_are_kept(tmp_path: Path) -> None:
    built = Built()
    registry = EmbedderRegistry(tmp_path, most=2, build=built)
    for model in ("a", "b", "a", "c", "a", "b"):
        registry.of(space(model))
    assert built.made == ["a", "b", "c", "b"]


def test_shorter_vectors_come_from_the_same_weights_and_are_unit_vectors(tmp_path: Path) -> None:
    built = Built()
    registry = EmbedderRegistry(tmp_path, build=built)
    whole, short = registry.of(space("a")), registry.of(space("a", dimensions=16))
    assert built.made == ["a"]
    assert isinstance(short, ShortenedEmbedder)
    assert short.dimensions == 16
    long, cut = asyncio.run(whole.embed_query("heron")), asyncio.run(short.embed_query("heron"))
    passages = asyncio.run(short.embed_passages(["heron", "weir"]))
    np.testing.assert_allclose(cut, long[:16] / np.linalg.norm(long[:16]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(passages, axis=1), 1, atol=1e-6)
    assert asyncio.run(short.embed_passages([])).shape == (0, 16)


def test_a_model_that_is_not_installed_names_the_fix(tmp_path: Path) -> None:
    registry = EmbedderRegistry(tmp_path)
    wanted = space(BGE_SMALL_EN.name, 384, BGE_SMALL_EN.revision)
    with pytest.raises(Unavailable, match=r"ragecho models fetch bge-small-en-v1\.5"):
        registry.of(wanted)
    with pytest.raises(Unavailable, match="not the ones that it was used with"):
        registry.of(space(BGE_SMALL_EN.name, 384, "other-weights"))
    with pytest.raises(Unavailable, match="No embedder called 'gone'"):
        registry.of(space("gone"))


def test_a_provider_that_is_not_configured_names_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "openai:text-embedding-3-small"
    with pytest.raises(Unavailable, match="RAGECHO_OPENAI_API_KEY"):
        EmbedderRegistry(tmp_path).of(space(name, 1536, f"{name}@1536"))
    monkeypatch.setenv("RAGECHO_OPENAI_API_KEY", "key")
    # The settings of another default model do not change what this space was made with.
    monkeypatch.setenv("RAGECHO_EMBEDDER_QUERY_PREFIX", "query: ")
    embedder = EmbedderRegistry(tmp_path).of(space(name, 512, f"{name}@512"))
    assert (embedder.dimensions, embedder.revision) == (512, f"{name}@512")
    with pytest.raises(Unavailable, match="other prefixes"):
        EmbedderRegistry(tmp_path).of(space(name, 512, f"{name}@512/x: /"))


def test_fewer_dimensions_only_where_the_model_was_trained_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "openai:text-embedding-3-large"
    assert space_model(name, tmp_path, dimensions=1024).dimensions == 1024
    with pytest.raises(ConfigurationError, match=r"3072 or 256, 512, 1024, 1536 dimensions, not 1000"):
        space_model(name, tmp_path, dimensions=1000)
    with pytest.raises(ConfigurationError, match="has 384 dimensions, not 128"):
        space_model(BGE_SMALL_EN.name, tmp_path, dimensions=128)
