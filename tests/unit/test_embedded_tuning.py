"""The settings of the embedded server on machines of every size."""

from pathlib import Path

import pytest

from ragecho.platform.embedded.tuning import render, server_settings
from ragecho.platform.memory import memory_limit_bytes

_GIB = 1 << 30


def settings(memory_bytes: int, cores: int = 4) -> dict[str, str]:
    return dict(
        server_settings(memory_bytes=memory_bytes, cores=cores, socket_dir=Path("/run/echo"), port=5432, title="t")
    )


@pytest.mark.parametrize(
    ("memory_bytes", "shared_buffers", "work_mem"),
    [
        (_GIB // 2, "32MB", "4MB"),
        (4 * _GIB, "128MB", "4MB"),
        (24 * _GIB, "256MB", "16MB"),
        (512 * _GIB, "256MB", "16MB"),
    ],
)
def test_memory_grows_with_the_machine_between_bounds(memory_bytes: int, shared_buffers: str, work_mem: str) -> None:
    chosen = settings(memory_bytes)
    assert (chosen["shared_buffers"], chosen["work_mem"]) == (shared_buffers, work_mem)


def test_the_server_is_durable_and_has_no_network_address() -> None:
    chosen = settings(8 * _GIB)
    assert (chosen["fsync"], chosen["synchronous_commit"], chosen["full_page_writes"]) == ("on", "on", "on")
    assert chosen["listen_addresses"] == ""


def test_the_log_never_holds_statements_or_row_values() -> None:
    chosen = settings(8 * _GIB)
    assert (chosen["log_min_error_statement"], chosen["log_error_verbosity"]) == ("panic", "terse")


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_parallel_workers_follow_the_cores(cores: int) -> None:
    chosen = settings(8 * _GIB, cores)
    assert int(chosen["max_parallel_workers"]) == cores
    assert int(chosen["max_parallel_maintenance_workers"]) <= max(1, cores)


def test_quotes_and_backslashes_survive_the_configuration_syntax() -> None:
    assert "name = 'it''s a \\\\ path'\n" in render({"name": "it's a \\ path"})


def test_a_control_group_limit_above_ours_binds(tmp_path: Path) -> None:
    (tmp_path / "pod" / "echo").mkdir(parents=True)
    (tmp_path / "pod" / "memory.max").write_text("268435456\n", encoding="ascii")
    (tmp_path / "pod" / "echo" / "memory.max").write_text("max\n", encoding="ascii")
    own = tmp_path / "own"
    own.write_text("0::/pod/echo\n", encoding="ascii")
    assert memory_limit_bytes(tmp_path, own) == 268435456


def test_an_old_control_group_without_a_limit_does_not_bind(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n", encoding="ascii")
    assert memory_limit_bytes(tmp_path, tmp_path / "none") == memory_limit_bytes(tmp_path / "x", tmp_path / "none")
