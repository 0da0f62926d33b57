"""Settings of the commands that are clients, and how every command loads settings."""

from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from ragecho.cli.errors import CliError


class ClientSettings(BaseSettings):
    """The commands that are clients: ingest, ask, search, documents, jobs, workspaces."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    server: str = Field("http://127.0.0.1:8000", description="Address of the Echo server to talk to.")
    api_key: SecretStr | None = Field(
        None,
        description="Key to talk with; made by `ragecho admin api-key create --workspace default --scopes read,write`.",
    )
    workspace: str | None = Field(None, description="Workspace (id or slug) to work in; default the key's own.")


def load_settings[S: BaseSettings](kind: type[S], **overrides: object) -> S:
    """Return the settings of this surroundings, with the given (not None) values on top.

    Raises `CliError` with one line that names each wrong variable and its rule, and never a value.
    """
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    try:
        return kind(**given)
    except (ValidationError, SettingsError) as error:
        raise CliError("; ".join(f"{variable}: {rule}" for variable, rule in explain_invalid(kind, error))) from None


def variable_of(kind: type[BaseSettings], field: str) -> str:
    """Return the environment variable of a field."""
    return f"{kind.model_config.get('env_prefix', '')}{field}".upper()


def explain_invalid(kind: type[BaseSettings], error: ValidationError | SettingsError) -> list[tuple[str, str]]:
    """Return (variable, rule) for each wrong setting; values are left out even where a rule would repeat them."""
    if isinstance(error, SettingsError):
        field = next((name for name in kind.model_fields if f'"{name}"' in str(error)), "")
        return [(variable_of(kind, field), "is not valid JSON for this setting.")]
    found = []
    for problem in error.errors(include_url=False, include_context=False):
        field = str(problem["loc"][0]) if problem["loc"] else ""
        rule, value = problem["msg"], problem.get("input")
        if isinstance(value, str) and value and value in rule:
            rule = rule.replace(value, "…")
        found.append((variable_of(kind, field) if field in kind.model_fields else field.upper(), rule))
    return found
