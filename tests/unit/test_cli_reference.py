"""docs/reference/cli.md is made from the commands."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_reference_is_current():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "generate_cli_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text() == module.reference(), "run `python scripts/generate_cli_reference.py`"
