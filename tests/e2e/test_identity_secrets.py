"""SECURITY.md, line 5: there is no default secret, and a short or example one stops the start, by its variable's name.

Which ones these are: tests/unit/test_identity_vault.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.conftest import clean_environment

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def ragecho(data_dir: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ragecho", *arguments],
        env=clean_environment(data_dir) | settings,
        cwd=data_dir,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("command", "secret"), [("api", "short"), ("identity", "change-me-change-me-change-me-change-me")]
)
def test_a_start_with_a_short_or_example_secret_is_refused(command: str, secret: str, tmp_path: Path) -> None:
    settings = {"RAGECHO_IDENTITY_SECRET": secret, "RAGECHO_DATABASE_URL": NOWHERE}
    done = ragecho(tmp_path, command, "--port", "0", **settings)
    assert done.returncode == 1, done.stderr
    assert "RAGECHO_IDENTITY_SECRET" in done.stderr
    assert secret not in done.stderr.replace("too short", "")


@pytest.mark.parametrize("secret", ["short", "password-password-password-password"])
def test_the_check_of_a_production_configuration_names_the_variable_and_never_the_value(
    secret: str, tmp_path: Path
) -> None:
    done = ragecho(tmp_path, "config", "check", "--production", RAGECHO_IDENTITY_SECRET=secret)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "RAGECHO_IDENTITY_SECRET" in said
    assert secret not in said.replace("too short", "")
