"""What `ragecho config check` looks at. A finding names the setting and the rule, and never a value."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsError

from ragecho.cli.sections import OTHER_VARIABLES, PREFIX, settings_sections
from ragecho.cli.settings import explain_invalid, variable_of
from ragecho.kernel.errors import EchoError
from ragecho.platform.settings import Environment, Settings

MIN_SECRET_CHARACTERS = 32
MIN_PASSWORD_CHARACTERS = 12
_EXAMPLE_WORDS = re.compile(r"change.?me|example|secret|password|default|placeholder|your[-_ ]|xxx|12345|test", re.I)
# Random text of this length may hold such a word by chance; what a person typed as a placeholder is shorter.
_EXAMPLE_LENGTH = 40


class Outcome(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `variable` is the setting it is about, where it is about one."""

    outcome: Outcome
    check: str
    message: str
    variable: str | None = None


def check_configuration(*, is_production: bool, environment: Mapping[str, str] | None = None) -> list[Finding]:
    """Return what was found, in order. With `is_production`, what development tolerates is an error."""
    given = _given_variables(os.environ if environment is None else environment)
    findings = list(_unknown(given, is_production=is_production))
    sections: list[BaseSettings] = []
    for kind in settings_sections():
        try:
            sections.append(kind())
        except (ValidationError, SettingsError) as error:
            findings += [Finding(Outcome.ERROR, "settings", rule, name) for name, rule in explain_invalid(kind, error)]
    if not any(finding.outcome is Outcome.ERROR for finding in findings):
        findings.append(Finding(Outcome.OK, "settings", f"{len(given)} set, all valid."))
    settings = next((section for section in sections if isinstance(section, Settings)), None)
    if settings is not None:
        findings += _places(settings)
        findings += _database(settings, is_production=is_production)
        findings += _models(settings)
    if is_production or (settings and settings.environment is Environment.PRODUCTION):
        findings += _production(settings, sections)
    return findings


def _given_variables(environment: Mapping[str, str]) -> dict[str, str]:
    from_file = {name: value or "" for name, value in dotenv_values(".env").items()}
    both = {**from_file, **environment}
    return {name.upper(): value for name, value in both.items() if name.upper().startswith(PREFIX)}


def _unknown(given: Mapping[str, str], *, is_production: bool) -> Iterator[Finding]:
    known = {variable_of(kind, name) for kind in settings_sections() for name in kind.model_fields} | OTHER_VARIABLES
    for name in sorted(given.keys() - known):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        hint = f" Did you mean {near[0]}?" if near else ""
        outcome = Outcome.ERROR if is_production else Outcome.WARNING
        yield Finding(outcome, "settings", f"is not a setting of Echo and has no effect.{hint}", name)


def _places(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.absolute()
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        yield Finding(
            Outcome.ERROR, "data", "the folder cannot be written; make it or change its owner.", "RAGECHO_DATA_DIR"
        )
        return
    yield Finding(Outcome.OK, "data", "the folder can be written." if nearest == folder else "the folder can be made.")


def _database(settings: Settings, *, is_production: bool) -> Iterator[Finding]:
    if settings.database_url is None or not settings.database_url.get_secret_value():
        yield Finding(Outcome.OK, "database", "the embedded one, in the data folder.")
        return
    from ragecho.platform.database.migrate import current_revision

    try:
        revision, head = current_revision(settings.database_url.get_secret_value())
    except EchoError as error:
        message = _without(error.message, settings.database_url)
        yield Finding(Outcome.ERROR, "database", message, "RAGECHO_DATABASE_URL")
        return
    except Exception as error:  # noqa: BLE001 - a malformed address fails in as many ways as there are drivers
        yield Finding(
            Outcome.ERROR, "database", f"is no usable address ({type(error).__name__}).", "RAGECHO_DATABASE_URL"
        )
        return
    if revision == head:
        yield Finding(Outcome.OK, "database", f"answers, schema {head}.")
        yield from _spaces(settings)
        return
    outcome = Outcome.ERROR if is_production else Outcome.WARNING
    yield Finding(outcome, "database", f"has schema {revision or 'none'}, not {head}; run `ragecho db upgrade`.")


def _spaces(settings: Settings) -> Iterator[Finding]:
    """Tell of workspaces that use another embedding model or other chunking than is configured."""
    import asyncio

    from ragecho.library.spaces import spaces_in_use
    from ragecho.platform.database import Database
    from ragecho.wiring import space_of

    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()

    async def others() -> list[tuple[str, int]]:
        wanted, database = space_of(settings), Database(url, pool_size=1, application_name="ragecho config")
        try:
            found = await spaces_in_use(database)
        finally:
            await database.close()
        return [
            (one.model if one.model != wanted.model else f"other settings of {one.model}", number)
            for one, number in found
            if one.id != wanted.id
        ]

    try:
        elsewhere = asyncio.run(others())
    except EchoError:
        return  # the model's own check says what is wrong with it
    for what, number in elsewhere:
        yield Finding(
            Outcome.WARNING,
            "index",
            f"{number} workspaces still use {what}; change them with `ragecho reindex` (all: `ragecho reindex --all`).",
            "RAGECHO_EMBEDDER",
        )


def _without(message: str, url: SecretStr) -> str:
    # A driver may repeat host, user or password in its message.
    parts = [part for part in re.split(r"[:/@?&=]+", url.get_secret_value()) if len(part) > 3]  # noqa: PLR2004 - shorter parts are ports and words
    for part in sorted(parts, key=len, reverse=True):
        message = message.replace(part, "…") if part not in {"postgresql", "postgres"} else message
    return message


def _models(settings: Settings) -> Iterator[Finding]:
    from ragecho.engines.models.catalogue import Role
    from ragecho.engines.models.local import known_model
    from ragecho.engines.models.store import missing_files
    from ragecho.wiring import build_embedder, build_reranker, build_rewriter

    try:
        build_rewriter(settings)
    except EchoError as error:
        yield Finding(Outcome.ERROR, "models", error.message, f"{PREFIX}QUERY_REWRITER")
    except ValueError:
        return  # the section's own check has said what is wrong with it
    for name, role in ((settings.embedder, Role.EMBEDDER), (settings.reranker, Role.RERANKER)):
        variable = f"{PREFIX}{role.upper()}"
        try:
            # Made, not used: nothing is loaded and no provider is asked.
            made = build_embedder(settings) if role is Role.EMBEDDER else build_reranker(settings)
            if made is None or ":" in made.model:
                continue
            spec = known_model(settings.model_dir, name, role)
        except EchoError as error:
            yield Finding(Outcome.ERROR, "models", error.message, variable)
            continue
        if missing_files(settings.model_dir, spec):
            message = f"the weights of {spec.name} are missing; run `ragecho models fetch {spec.name}`."
            yield Finding(Outcome.ERROR, "models", message, variable)
        else:
            yield Finding(Outcome.OK, "models", f"{spec.name} is complete.")


def _production(settings: Settings | None, sections: list[BaseSettings]) -> Iterator[Finding]:
    if settings is not None:
        if settings.environment is not Environment.PRODUCTION:
            yield Finding(Outcome.ERROR, "production", "must be `production`.", "RAGECHO_ENVIRONMENT")
        if not (settings.public_url or "").startswith("https://"):
            yield Finding(
                Outcome.ERROR, "production", "must be the https:// address that people type.", "RAGECHO_PUBLIC_URL"
            )
    for section in sections:
        for name, field in type(section).model_fields.items():
            value = getattr(section, name)
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            variable = variable_of(type(section), name)
            if isinstance(value, SecretStr) and value.get_secret_value():
                if rule := _weakness(variable, value.get_secret_value()):
                    yield Finding(Outcome.ERROR, "production", rule, variable)
            elif extra.get("required_in_production"):
                yield Finding(Outcome.ERROR, "production", "must be set.", variable)


def _weakness(variable: str, secret: str) -> str | None:
    if "://" in secret:
        from urllib.parse import unquote, urlsplit

        try:
            secret = unquote(urlsplit(secret).password or "")
        except ValueError:
            return "is no usable address."
        if not secret:
            return None  # a socket, a certificate or a password file may do the authentication
        shortest = MIN_PASSWORD_CHARACTERS
    else:
        shortest = MIN_SECRET_CHARACTERS if variable.endswith(("_SECRET", "_SECRET_KEY")) else MIN_PASSWORD_CHARACTERS
    if len(secret) < shortest:
        return f"is too short: at least {shortest} characters."
    if len(secret) < _EXAMPLE_LENGTH and _EXAMPLE_WORDS.search(secret):
        return "looks like an example; make a random one."
    return None
