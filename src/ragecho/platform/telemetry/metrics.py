"""Every metric of Echo, declared in one place. No label ever names a tenant, a person or a document.

Each process has its own numbers; API processes that share a port show theirs together. The queue's gauges are set from the
database by whoever serves `/metrics`, so they count all workers; a worker's own histograms are its own, on its own port
(`RAGECHO_METRICS_PORT`).
"""

from collections.abc import Mapping
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from ragecho.platform.telemetry.exposition import Reading, own_registry, render

JOBS_NOW = Reading("ragecho_queue_jobs", "Jobs in the database by queue and status.", ("queue", "status"))
QUEUE_OLDEST_SECONDS = Reading(
    "ragecho_queue_oldest_seconds", "Age of the oldest delivery by queue and status.", ("queue", "status")
)
_READINGS = (JOBS_NOW, QUEUE_OLDEST_SECONDS)
REGISTRY = own_registry(_READINGS)

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

HTTP_REQUESTS = Counter("http_requests_total", "Requests answered.", ("method", "route", "status"), registry=REGISTRY)
HTTP_SECONDS = Histogram(
    "http_request_duration_seconds",
    "Time to the last byte.",
    ("method", "route"),
    buckets=(*_FAST, 30, 60),
    registry=REGISTRY,
)
HTTP_IN_PROGRESS = Gauge(
    "http_requests_in_progress", "Requests being answered now.", registry=REGISTRY, multiprocess_mode="livesum"
)
HTTP_REFUSED = Counter("http_requests_refused_total", "Requests refused by a limit.", ("limit",), registry=REGISTRY)

INGEST_STAGE_SECONDS = Histogram(
    "ragecho_ingest_stage_seconds",
    "Time of one document in one stage.",
    ("stage", "outcome"),
    buckets=_SLOW,
    registry=REGISTRY,
)
EMBEDDED_PASSAGES = Counter("ragecho_embedded_passages_total", "Passages embedded.", ("model",), registry=REGISTRY)
SEARCH_SECONDS = Histogram(
    "ragecho_search_seconds", "Time of one step of a search.", ("step",), buckets=_FAST, registry=REGISTRY
)
ANSWERS = Counter("ragecho_answers_total", "Questions answered or refused.", ("outcome",), registry=REGISTRY)
JOBS = Counter("ragecho_jobs_total", "Jobs that ended in this process.", ("task", "status"), registry=REGISTRY)
JOB_SECONDS = Histogram(
    "ragecho_job_seconds",
    "Time of one attempt of a job, or of a batch of small ones.",
    ("task",),
    buckets=_SLOW,
    registry=REGISTRY,
)
JOB_WAIT_SECONDS = Histogram(
    "ragecho_job_wait_seconds",
    "Time from a job's making to its first attempt.",
    ("queue",),
    buckets=(*_SLOW, 900, 3600),
    registry=REGISTRY,
)
STEP_WAIT_SECONDS = Histogram(
    "ragecho_step_wait_seconds",
    "Time that work waited for a step that is limited over all workers.",
    ("step",),
    buckets=_SLOW,
    registry=REGISTRY,
)
MAINTENANCE = Counter(
    "ragecho_maintenance_removed_total", "What maintenance in this process removed.", ("what",), registry=REGISTRY
)
MODEL_CALLS = Counter("ragecho_model_calls_total", "Calls of a generator.", ("model", "outcome"), registry=REGISTRY)
MODEL_SECONDS = Histogram(
    "ragecho_model_call_seconds", "Time of a generator's whole answer.", ("model",), buckets=_SLOW, registry=REGISTRY
)
MODEL_TOKENS = Counter("ragecho_model_tokens_total", "Tokens paid for.", ("model", "direction"), registry=REGISTRY)
MODEL_COST = Counter("ragecho_model_cost_usd_total", "Money spent, in US dollars.", ("model",), registry=REGISTRY)
CACHE_LOOKUPS = Counter("ragecho_cache_lookups_total", "Lookups of a cache.", ("cache", "outcome"), registry=REGISTRY)


# What every request counts is looked up once: a child lives as long as its metric.
_http_requests = cache(HTTP_REQUESTS.labels)
_http_seconds = cache(HTTP_SECONDS.labels)
_search_seconds = cache(SEARCH_SECONDS.labels)
_cache_lookups = cache(CACHE_LOOKUPS.labels)


def render_metrics() -> bytes:
    """Return all metrics in the Prometheus text format (`exposition.CONTENT_TYPE`): of all processes that share this one's port."""
    return render(REGISTRY, _READINGS)


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count one HTTP request; `route` is the template, never the path."""
    _http_requests(method, route, str(status)).inc()
    _http_seconds(method, route).observe(seconds)


def observe_ingest_stage(stage: str, seconds: float, *, outcome: str = "ok") -> None:
    """Record one document's time in parse, chunk, embed or index; `outcome` is ok or a stable reason."""
    INGEST_STAGE_SECONDS.labels(stage, outcome).observe(seconds)


def count_embedded(model: str, passages: int) -> None:
    """Count passages that `model` embedded."""
    EMBEDDED_PASSAGES.labels(model).inc(passages)


def observe_search(step: str, seconds: float) -> None:
    """Record one step of a search: embed, vector, lexical, fuse, rerank or total."""
    _search_seconds(step).observe(seconds)


def count_answer(outcome: str) -> None:
    """Count one question: answered, refused, cached or failed."""
    ANSWERS.labels(outcome).inc()


def count_job(task: str, status: str) -> None:
    """Count one job that ended here: succeeded, retried, failed, cancelled or dead."""
    JOBS.labels(task, status).inc()


def observe_job(task: str, seconds: float) -> None:
    """Record the time of one attempt."""
    JOB_SECONDS.labels(task).observe(seconds)


def observe_job_wait(queue: str, seconds: float) -> None:
    """Record how long a job waited until a worker took it up for the first time."""
    JOB_WAIT_SECONDS.labels(queue).observe(seconds)


def observe_step_wait(step: str, seconds: float) -> None:
    """Record how long work waited for a place in a step."""
    STEP_WAIT_SECONDS.labels(step).observe(seconds)


def set_jobs_now(counts: Mapping[tuple[str, str], int]) -> None:
    """Set the queue's gauges from the database: (queue, status) to number of jobs."""
    JOBS_NOW.set(counts.items())


def set_oldest_deliveries(ages: Mapping[tuple[str, str], float]) -> None:
    """Set the ages of the queue's oldest deliveries from the database: (queue, status) to seconds."""
    QUEUE_OLDEST_SECONDS.set(ages.items())


def count_removed(what: str, number: int) -> None:
    """Count what maintenance removed: documents, blobs, embeddings, uploads, idempotency_keys or jobs."""
    MAINTENANCE.labels(what).inc(number)


def observe_model_call(
    model: str, *, outcome: str, seconds: float, input_tokens: int = 0, output_tokens: int = 0, cost_usd: float = 0.0
) -> None:
    """Record one call of a generator; `outcome` is ok or the error's code."""
    MODEL_CALLS.labels(model, outcome).inc()
    MODEL_SECONDS.labels(model).observe(seconds)
    MODEL_TOKENS.labels(model, "input").inc(input_tokens)
    MODEL_TOKENS.labels(model, "output").inc(output_tokens)
    MODEL_COST.labels(model).inc(cost_usd)


def count_cache_lookup(cache: str, *, is_hit: bool, times: int = 1) -> None:
    """Count lookups of a named cache."""
    _cache_lookups(cache, "hit" if is_hit else "miss").inc(times)
