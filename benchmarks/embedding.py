"""How fast the models are by themselves: `python -m benchmarks.embedding [--passages N]`.

`raw_passages_per_second` is the ceiling that ingest is measured against in the same run. It uses nothing of the product
but the weights: a bare ONNX Runtime session and tokenizer in the quickest arrangement found, texts of similar length in
batches of `BATCH_TOKENS` tokens, which on these machines beats larger batches, and one single-threaded run per core.
"""

import argparse
import asyncio
import copy
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime

from ragecho.engines.models.batching import usable_threads
from ragecho.engines.models.catalogue import BGE_SMALL_EN, MS_MARCO_MINILM_L12, ModelSpec
from ragecho.engines.models.embedder import OnnxEmbedder
from ragecho.engines.models.onnx import load_tokenizer
from ragecho.engines.models.reranker import OnnxReranker
from ragecho.engines.models.store import default_model_dir, installed_folder

BATCH_TOKENS = 400
_SENTENCE = "the committee reviewed the maintenance report and approved the revised budget for the northern station "


def passages_of_200_tokens(count: int) -> list[str]:
    """Return `count` different texts of 200 tokens of bge's tokenizer, special tokens included."""
    words = (_SENTENCE * 20).split()
    return [" ".join([*words[n % 13 : n % 13 + 197], str(n % 10)]) for n in range(count)]


async def raw_passages_per_second(
    embedder_spec: ModelSpec,
    texts: Sequence[str],
    *,
    threads: int = 0,
    model_dir: Path | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> float:
    """Return how many of `texts` are embedded per second of wall time, tokenising included, loading left out."""
    return await asyncio.to_thread(
        _raw, embedder_spec, texts, usable_threads(threads), model_dir or default_model_dir(), batch_tokens
    )


def _raw(spec: ModelSpec, texts: Sequence[str], threads: int, model_dir: Path, batch_tokens: int) -> float:
    folder = installed_folder(model_dir, spec)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / spec.weights.name), options, providers=["CPUExecutionProvider"])
    tokenizer = copy.deepcopy(load_tokenizer(folder))  # the shared one is left as it is
    tokenizer.enable_truncation(spec.max_tokens)

    def run(rows: Sequence[Sequence[int]]) -> None:
        longest = max(map(len, rows))
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)], mask[index, : len(row)] = row, 1
        session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})

    run([tokenizer.encode(texts[0]).ids])
    started = time.perf_counter()
    rows = sorted((encoding.ids for encoding in tokenizer.encode_batch(list(texts))), key=len, reverse=True)
    batches: list[list[list[int]]] = [[]]
    for row in rows:
        if batches[-1] and (len(batches[-1]) + 1) * len(batches[-1][0]) > batch_tokens:
            batches.append([])
        batches[-1].append(row)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, batches))
    return len(texts) / (time.perf_counter() - started)


async def _measure(count: int) -> dict[str, float]:
    texts = passages_of_200_tokens(count)
    found: dict[str, float] = {}
    for threads in sorted({1, usable_threads(0)}):
        embedder = OnnxEmbedder(BGE_SMALL_EN, default_model_dir(), threads=threads)
        await embedder.load()
        await embedder.embed_passages(texts[:4])
        started, started_cpu = time.perf_counter(), time.process_time()
        await embedder.embed_passages(texts)
        found[f"embedder_passages_per_second_threads_{threads}"] = count / (time.perf_counter() - started)
        found[f"embedder_passages_per_cpu_second_threads_{threads}"] = count / (time.process_time() - started_cpu)
        started_cpu = time.process_time()
        for number in range(50):
            await embedder.embed_query(f"how many vacation days does employee {number} get?")
        found[f"query_cpu_ms_threads_{threads}"] = (time.process_time() - started_cpu) / 50 * 1000
        embedder.close()
        found[f"peak_rss_mb_after_threads_{threads}"] = _peak_rss_mb()
    reranker = OnnxReranker(MS_MARCO_MINILM_L12, default_model_dir())
    await reranker.load()
    started_cpu = time.process_time()
    await reranker.score("what did the committee approve?", texts[:40])
    found["reranker_pairs_per_cpu_second"] = 40 / (time.process_time() - started_cpu)
    reranker.close()
    found["peak_rss_mb_with_reranker"] = _peak_rss_mb()
    for threads in sorted({1, usable_threads(0)}):
        raw = await raw_passages_per_second(BGE_SMALL_EN, texts, threads=threads)
        found[f"raw_passages_per_second_threads_{threads}"] = raw
    return found


def _peak_rss_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Print one JSON object of measurements; the load average says how far to trust the wall times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=200)
    found = asyncio.run(_measure(parser.parse_args().passages))
    rounded = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps({**rounded, "load_average": round(os.getloadavg()[0], 2)}, indent=2))


if __name__ == "__main__":
    main()
