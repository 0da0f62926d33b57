"""Every settings section of the product: each module called `settings` under `ragecho` that holds one."""

import importlib
from pathlib import Path

from pydantic_settings import BaseSettings

import ragecho

PREFIX = "RAGECHO_"
# Read directly where they are used, since no section fits: they steer one run, not an installation.
OTHER_VARIABLES = frozenset(
    {"RAGECHO_DEBUG", "RAGECHO_MODELS_OFFLINE", "RAGECHO_TEST_DATA", "RAGECHO_LOGIN_DIR"}
    # What a parent tells its children.
    | {"RAGECHO_LISTEN_FD", "RAGECHO_SHARES_FD", "RAGECHO_SHARES_PLACE"}
)


def settings_sections() -> list[type[BaseSettings]]:
    """Return the sections, the shared one first, then by module. A section belongs to its feature and is found here."""
    root = Path(ragecho.__file__).parent
    # Looked up as files: walking the packages would import every one of them, and that takes seconds.
    names = sorted(".".join(path.relative_to(root.parent).with_suffix("").parts) for path in root.rglob("settings.py"))
    names.sort(key=lambda name: name != "ragecho.platform.settings")
    found = []
    for name in names:
        module = importlib.import_module(name)
        for value in vars(module).values():
            is_section = isinstance(value, type) and issubclass(value, BaseSettings) and value.__module__ == name
            if is_section and str(value.model_config.get("env_prefix", "")).startswith(PREFIX):
                found.append(value)
    return found
