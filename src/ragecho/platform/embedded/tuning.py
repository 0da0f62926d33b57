"""PostgreSQL's configuration, sized for this machine (or this container) at every start."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_MIB = 1 << 20
# One flush of the file system for a new or crashed cluster's thousand files, where Linux has it: 0.4 s against 3-5 s.
SYNC_METHOD = "syncfs" if sys.platform == "linux" else "fsync"


def core_count() -> int:
    """Count the cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def server_settings(*, memory_bytes: int, cores: int, socket_dir: Path, port: int, title: str) -> Mapping[str, str]:
    """Choose the settings of `ragecho.conf`.

    Memory is modest on purpose: the whole product shares the machine with models and the file cache, and what
    `shared_buffers` does not hold the kernel does.
    """

    def share(divisor: int, low: int, high: int) -> str:
        return f"{min(max(memory_bytes // divisor // _MIB, low), high)}MB"

    return {
        "cluster_name": title,
        "listen_addresses": "",
        "port": str(port),
        "unix_socket_directories": f'"{socket_dir}"',
        "unix_socket_permissions": "0700",
        "max_connections": "200",  # four API processes, each with those of the application and of the identity service
        # Memory.
        "shared_buffers": share(32, 32, 256),
        "effective_cache_size": share(2, 128, 1 << 20),
        "maintenance_work_mem": share(32, 32, 512),  # HNSW builds are several times slower when the graph outgrows it
        "work_mem": share(1024, 4, 16),
        # /dev/shm has 64 MB in a default container: a parallel HNSW build fails there.
        "dynamic_shared_memory_type": "mmap",
        # Cores.
        "max_worker_processes": str(max(8, 2 * cores)),
        "max_parallel_workers": str(cores),
        "max_parallel_workers_per_gather": str(min(2, cores // 2)),
        "max_parallel_maintenance_workers": str(min(4, max(1, cores // 2))),
        "io_workers": str(min(3, cores)),
        # Plans: short queries on solid-state disks.
        "jit": "off",
        "random_page_cost": "1.1",
        "max_locks_per_transaction": "256",  # hash partitions and their indexes each take one
        # Durable; recovery after a kill stays short.
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "recovery_init_sync_method": SYNC_METHOD,
        "wal_compression": "on",
        "max_wal_size": "1GB",
        # Log facts, never contents: no statements, no DETAIL line with the values of a row.
        "log_min_messages": "warning",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_line_prefix": "%m [%p] ",
        "log_checkpoints": "off",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }


def render(settings: Mapping[str, str]) -> str:
    """`postgresql.conf` syntax: quotes are doubled inside a quoted value."""
    lines = ["# Written at every start of Echo; edits are lost. Use ALTER SYSTEM, which wins over this file."]
    for name, value in settings.items():
        escaped = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{escaped}'")
    return "\n".join(lines) + "\n"
