"""The import rules hold in the tree, and each of them notices when it is broken."""

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / ".importlinter"
PREFIX = "importlinter:contract:"

# For each contract: a module, and the import in it that the contract forbids.
SEEDS = {
    "layers": ("kernel/ids.py", "import ragecho.platform.settings"),
    "features": ("library/model.py", "import ragecho.library.service"),
    "tenancy": ("tenancy/store_keys.py", "import ragecho.tenancy.keys"),
    "steps": ("ingest/steps/chunk.py", "import ragecho.ingest.steps.analyse"),
    "web-framework": ("library/service.py", "import fastapi"),
    "sqlalchemy": ("ingest/service.py", "import sqlalchemy"),
    "models": ("ingest/steps/chunk.py", "import onnxruntime"),
    "wiring": ("roles/api.py", "import ragecho.engines.fakes"),
    "private-stores": ("ingest/service.py", "import ragecho.library.store_chunks"),
}


def contracts() -> dict[str, str]:
    """Return the id and name of every contract in the configuration."""
    parser = configparser.ConfigParser()
    parser.read(CONFIG, encoding="utf-8")
    return {
        section.removeprefix(PREFIX): parser[section]["name"]
        for section in parser.sections()
        if section.startswith(PREFIX)
    }


def lint(source: Path, *options: str) -> tuple[int, str]:
    """Check the tree under `source`; return the exit code and what was printed."""
    program = "from importlinter.cli import lint_imports_command as command; command()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--config", str(CONFIG), "--no-cache", "--no-logo", *options],
        env=os.environ | {"PYTHONPATH": str(source), "COLUMNS": "400", "NO_COLOR": "1"},
        cwd=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("seeded")
    shutil.copytree(ROOT / "src" / "ragecho", source / "ragecho", ignore=shutil.ignore_patterns("__pycache__"))
    return source


def test_every_contract_has_a_seeded_violation() -> None:
    assert set(SEEDS) == set(contracts())


def test_the_tree_keeps_every_contract() -> None:
    code, output = lint(ROOT / "src")
    assert code == 0, output
    assert f"{len(contracts())} kept, 0 broken" in output


@pytest.mark.parametrize("contract", sorted(SEEDS))
def test_a_forbidden_import_breaks_its_contract(contract: str, copy: Path) -> None:
    name = contracts()[contract]
    module, line = SEEDS[contract]
    path = copy / "ragecho" / module
    whole = path.read_text(encoding="utf-8")
    path.write_text(f"{whole}\n{line}\n", encoding="utf-8")
    try:
        code, output = lint(copy, "--contract", contract)
    finally:
        path.write_text(whole, encoding="utf-8")
    assert code != 0
    assert f"{name} BROKEN" in output
    assert f"ragecho.{module.removesuffix('.py').replace('/', '.')} -> {line.removeprefix('import ')}" in output
