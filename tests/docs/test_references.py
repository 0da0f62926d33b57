"""The generated reference pages are what the code says now."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
GENERATORS = ("generate_settings_reference", "generate_http_reference", "generate_authorization_reference")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", GENERATORS)
def test_a_reference_page_is_current(name: str) -> None:
    module = load(name)
    written = module.TARGET.read_text(encoding="utf-8")
    assert written == module.reference(), f"run `python scripts/{name}.py`"
