"""`ragecho config` and the settings of the commands."""

import json
import os
from pathlib import Path

import pytest

from ragecho.cli.env_example import env_example
from ragecho.cli.main import run
from ragecho.cli.sections import settings_sections

ROOT = Path(__file__).parents[2]
SECRET = "hunter2hunter2"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("RAGECHO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def check(capsys, *arguments):
    code = run(["config", "check", "--json", *arguments])
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["ok"] == (code == 0)
    return report["checks"], captured.out


def about(checks, variable):
    return [(check["outcome"], check["message"]) for check in checks if check["variable"] == variable]


def test_the_env_example_of_the_repository_is_the_generated_one():
    assert (ROOT / ".env.example").read_text() == env_example(), "run `ragecho config env-example > .env.example`"


def test_the_env_example_names_every_setting_of_every_section_with_a_description():
    text = env_example()
    for section in settings_sections():
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name} needs a description"
            assert f"#{section.model_config['env_prefix']}{name.upper()}=" in text


def test_the_env_example_does_not_depend_on_the_machine():
    assert str(Path.home()) + "/" not in env_example()


def test_a_wrong_value_is_named_with_its_rule_and_never_printed(monkeypatch, capsys):
    monkeypatch.setenv("RAGECHO_PORT", "70000")
    monkeypatch.setenv("RAGECHO_ENVIRONMENT", SECRET)
    checks, out = check(capsys)
    assert about(checks, "RAGECHO_PORT") == [("error", "Input should be less than or equal to 65535")]
    assert about(checks, "RAGECHO_ENVIRONMENT") == [("error", "Input should be 'development' or 'production'")]
    assert SECRET not in out
    assert "70000" not in out


def test_an_unknown_variable_is_named_with_what_was_meant(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RAGECHO_DATA_DRI", "x")
    (tmp_path / ".env").write_text("RAGECHO_GENERATR=extractive\n")
    checks, _ = check(capsys)
    assert about(checks, "RAGECHO_DATA_DRI") == [
        ("warning", "is not a setting of Echo and has no effect. Did you mean RAGECHO_DATA_DIR?")
    ]
    assert "RAGECHO_GENERATOR?" in about(checks, "RAGECHO_GENERATR")[0][1]
    assert about(check(capsys, "--production")[0], "RAGECHO_DATA_DRI")[0][0] == "error"


def test_a_data_folder_that_cannot_be_made_is_an_error(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAGECHO_DATA_DIR", str(tmp_path / "file" / "data"))
    checks, _ = check(capsys)
    assert about(checks, "RAGECHO_DATA_DIR")[0][0] == "error"


@pytest.mark.parametrize("url", [f"postgresql://someone:{SECRET}@127.0.0.1:1/echodb", f"not-an-address-{SECRET}"])
def test_a_database_that_does_not_answer_is_an_error_without_its_address(url, monkeypatch, capsys):
    monkeypatch.setenv("RAGECHO_DATABASE_URL", url)
    checks, out = check(capsys)
    assert about(checks, "RAGECHO_DATABASE_URL")[0][0] == "error"
    for part in (SECRET, "someone", "echodb", "127.0.0.1"):
        assert part not in out


def test_missing_and_unknown_models_are_errors_that_name_the_way_to_get_them(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RAGECHO_MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("RAGECHO_RERANKER", "no-such-model")
    checks, _ = check(capsys)
    assert "ragecho models fetch bge-small-en-v1.5" in about(checks, "RAGECHO_EMBEDDER")[0][1]
    assert about(checks, "RAGECHO_RERANKER")[0][0] == "error"


@pytest.mark.parametrize(
    ("ways", "generator", "said"),
    [
        ("history", "extractive", "RAGECHO_GENERATOR"),
        ("translate", "openai:gpt-5-mini", "RAGECHO_QUERY_REWRITER_LANGUAGES"),
        ("guess", "openai:gpt-5-mini", ""),
    ],
)
def test_a_rewriter_that_cannot_work_is_an_error_that_names_what_is_missing(ways, generator, said, monkeypatch, capsys):
    monkeypatch.setenv("RAGECHO_OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("RAGECHO_GENERATOR", generator)
    monkeypatch.setenv("RAGECHO_QUERY_REWRITER", ways)
    checks, out = check(capsys)
    assert about(checks, "RAGECHO_QUERY_REWRITER")[0][0] == "error"
    assert said in about(checks, "RAGECHO_QUERY_REWRITER")[0][1]
    assert SECRET not in out


@pytest.mark.parametrize(
    ("password", "rule"),
    [
        ("tiny1", "is too short"),
        ("changeme-please", "looks like an example"),
        ("postgres-example-password", "looks like an example"),
    ],
)
def test_production_refuses_short_and_example_secrets(password, rule, monkeypatch, capsys):
    monkeypatch.setenv("RAGECHO_DATABASE_URL", f"postgresql://echo:{password}@127.0.0.1:1/echo")
    checks, out = check(capsys, "--production")
    assert any(rule in message for _, message in about(checks, "RAGECHO_DATABASE_URL"))
    assert password not in out
    assert not any(rule in item["message"] for item in check(capsys)[0])


def test_production_wants_its_environment_and_a_public_https_address(monkeypatch, capsys):
    checks, _ = check(capsys, "--production")
    assert about(checks, "RAGECHO_ENVIRONMENT") == [("error", "must be `production`.")]
    assert about(checks, "RAGECHO_PUBLIC_URL")[0][0] == "error"
    monkeypatch.setenv("RAGECHO_ENVIRONMENT", "production")
    monkeypatch.setenv("RAGECHO_PUBLIC_URL", "https://echo.example.org")
    checks, _ = check(capsys)  # the environment itself asks for the strict check
    assert not [item for item in checks if item["variable"] in {"RAGECHO_ENVIRONMENT", "RAGECHO_PUBLIC_URL"}]


def test_the_report_for_people_has_one_line_for_each_finding(monkeypatch, capsys):
    monkeypatch.setenv("RAGECHO_PORT", "x")
    assert run(["config", "check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("✗ settings: RAGECHO_PORT Input should be a valid integer") for line in lines)


def test_a_command_with_a_wrong_setting_names_it_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("RAGECHO_PORT", SECRET)
    assert run(["db", "current"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("ragecho: RAGECHO_PORT: Input should be a valid integer")
    assert SECRET not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["admin", "api-key", "create", "--scopes", "read,fly"], "--scopes: 'fly' is not a valid Scope"),
        (["admin", "api-key", "create", "--scopes", ","], "--scopes names no scope"),
        (["admin", "create", "--email", "nobody"], "--email: this is no e-mail address."),
        (["worker", "--queues", ","], "--queues names no queue"),
        (["serve", "--port", "99999"], "Invalid value for '--port'"),
    ],
)
def test_bad_use_is_refused_before_anything_starts(arguments, line, capsys):
    assert run(arguments) == 2
    assert line in capsys.readouterr().err


def test_models_are_listed_with_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RAGECHO_MODEL_DIR", str(tmp_path))
    assert run(["models", "ls", "--json"]) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    assert {item["name"] for item in items if item["is_default"]} == {"bge-small-en-v1.5", "ms-marco-MiniLM-L-12-v2"}
    assert not any(item["is_present"] for item in items)
