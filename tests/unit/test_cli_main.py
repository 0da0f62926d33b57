"""The command line's frame: the overview, exit codes, failures, start-up."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from ragecho.cli.lazy import load
from ragecho.cli.main import ENTRIES, run
from ragecho.cli.passing_server import reason_in


def test_the_version_is_the_package_s(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"ragecho {version('ragecho')}\n"


def test_called_alone_it_shows_the_commands_as_bad_use(capsys):
    assert run([]) == 2
    captured = capsys.readouterr()
    assert "quickstart" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.exists], ids=lambda entry: entry.name)
def test_the_overview_repeats_each_command_s_own_help(entry):
    command = load(entry)
    assert command.name == entry.name
    assert command.help.strip().splitlines()[0] == entry.help


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.exists], ids=lambda entry: entry.name)
def test_every_command_has_help(entry, capsys):
    assert run([entry.name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: ragecho {entry.name} ")


def test_help_imports_neither_the_client_nor_settings_nor_rich():
    script = "import sys; from ragecho.cli.main import run; run(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {
        "httpx",
        "pydantic",
        "pydantic_settings",
        "rich",
        "fastapi",
        "sqlalchemy",
        "numpy",
        "ragecho_sdk",
    }


def test_models_run_under_the_command_line_leave_no_telemetry_session(tmp_path):
    script = "import ragecho.cli.main, onnxruntime"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment | {"TMPDIR": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []  # ONNX Runtime's reporter writes `.ses` into the temporary folder


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_products_of_matrices_take_no_further_threads():
    script = (
        "import ragecho.cli.main, numpy, os; many = numpy.ones((3000, 384), numpy.float32);"
        "many @ many[0]; many @ many.T; print(len(os.listdir('/proc/self/task')))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "1\n"


def test_python_dash_m_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "ragecho", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"ragecho {version('ragecho')}\n")


def test_an_unexpected_failure_is_one_line_and_a_traceback_only_when_asked_for(monkeypatch, capsys):
    monkeypatch.delenv("RAGECHO_DEBUG", raising=False)

    def fail(**_: object) -> None:
        raise LookupError("no\nluck")

    monkeypatch.setattr("typer.main.get_command", lambda _app: fail)
    assert run(["ask"]) == 1
    line = capsys.readouterr().err
    assert line == "ragecho: unexpected LookupError: no luck (RAGECHO_DEBUG=1 shows where)\n"
    monkeypatch.setenv("RAGECHO_DEBUG", "1")
    with pytest.raises(LookupError):
        run(["ask"])


def test_a_reader_that_goes_away_ends_the_command_quietly():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "ragecho", "config", "env-example"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_shown(shell, monkeypatch):
    script = "from ragecho.cli.main import run; raise SystemExit(run(['--show-completion']))"
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script.replace("'--show-completion'", f"'--show-completion', '{shell}'")],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "_RAGECHO_COMPLETE" in done.stdout


def test_completion_knows_commands_of_lazy_groups():
    environment = {
        **os.environ,
        "_RAGECHO_COMPLETE": "complete_bash",
        "COMP_WORDS": "ragecho documents s",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "ragecho"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.split() == ["show"]


def test_the_reason_for_a_server_that_did_not_start_is_the_line_meant_for_people():
    log = '{"event": "child.started"}\nragecho: Cannot listen on 127.0.0.1:80.\n{"event": "supervisor.stopped"}\n'
    assert reason_in(log) == "Cannot listen on 127.0.0.1:80."
    assert reason_in("Killed\n") == "Killed"
    assert reason_in("") == ""
