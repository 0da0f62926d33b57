"""What `/metrics` shows: the numbers of this process, or of all that serve the same port.

Processes that share a port (`PROMETHEUS_MULTIPROC_DIR` names the folder they share) keep their numbers in files there, and
whoever is asked adds them up: a scrape reaches one of them, and the next scrape another.
"""

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class Reading(Collector):
    """A gauge that whoever serves a scrape reads anew, from what all processes share: it is not added up."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name, self._documentation, self._labels = name, documentation, tuple(labels)
        self._values: dict[tuple[str, ...], float] = {}

    def set(self, values: Iterable[tuple[tuple[str, ...], float]]) -> None:
        """Set all values by their labels; those of before are gone."""
        self._values = dict(values)

    def collect(self) -> Iterable[Metric]:
        """Return the values."""
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return [family]


class _Processes(Collector):
    """Memory, time and files of each process that shares the port, told apart by `pid`."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for pid in self._pids:
            for found in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                family.samples += [Sample(one.name, one.labels | {"pid": str(pid)}, one.value) for one in found.samples]
        return families.values()


def render(registry: CollectorRegistry, readings: Sequence[Reading]) -> bytes:
    """Return the text of a scrape: of `registry`, or of all processes' where several share the port."""
    folder = os.environ.get(_FOLDER_VARIABLE)
    if folder is not None:
        registry = _of_all(Path(folder), readings)
    return generate_latest(registry)


def own_registry(readings: Sequence[Reading]) -> CollectorRegistry:
    """Return a registry for this process, with what its system knows of it."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    for reading in readings:
        registry.register(reading)
    return registry


def _of_all(folder: Path, readings: Sequence[Reading]) -> CollectorRegistry:
    pids = {int(file.stem.rpartition("_")[2]) for file in folder.glob("*.db")}
    alive = {pid for pid in pids if _is_alive(pid)}
    for pid in pids - alive:
        mark_process_dead(pid, path=str(folder))  # type: ignore[no-untyped-call]  # what it has counted stays
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    PlatformCollector(registry=registry)
    for collector in (_Processes(sorted(alive)), *readings):
        registry.register(collector)
    return registry


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
