"""SECURITY.md, line 5: which secrets the identity service refuses."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from ragecho.identity.settings import IdentitySettings
from ragecho.identity.vault import open_vault
from ragecho.kernel.errors import ConfigurationError
from ragecho.platform.settings import Settings


@pytest.mark.parametrize(
    "secret",
    [
        "short",
        "x" * 31,
        "x" * 40,
        "change-me-change-me-change-me-change-me",
        "your-secret-key-of-at-least-32-characters",
    ],
)
def test_a_short_or_example_secret_is_refused_without_repeating_it(secret: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_vault(Settings(data_dir=tmp_path), IdentitySettings(secret=SecretStr(secret)))
    assert "RAGECHO_IDENTITY_SECRET" in refused.value.message
    assert secret not in refused.value.message.replace("too short", "")
    assert not list(tmp_path.iterdir())
