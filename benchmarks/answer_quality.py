"""Measures answers: does the judge refuse what has no answer, and do quotes hold the answer.

    python benchmarks/answer_quality.py [--quick] [--reranker none] [--json FILE]

Passages of three domains are mixed (Natural Questions and SQuAD paragraphs, SciFact abstracts), then asked:
  nq, sq           questions whose passage is there
  near             Natural Questions whose passage is there and does not hold the answer, as annotated
  *_cross          questions after all documents of their own set were taken away
Prints AUC, the confusion at several thresholds (five-fold cross-validated), the weights fitted on all (for
`src/ragecho/ask/calibration.py`), and how often the quoted sentences hold the reference answer. Search is an in-memory
hybrid (exact cosine + BM25, reciprocal rank fusion), so this measures answering and not the database.
"""

import argparse
import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from numpy.typing import NDArray

from ragecho.ask.calibration import Signals, calibration_for
from ragecho.ask.steps.answer_extractively import answer_extractively
from ragecho.ask.steps.judge_evidence import QUOTAS, signals_of
from ragecho.ask.steps.rerank import rerank
from ragecho.ask.windows import ScoredWindow, best_windows, read_with_context, term_weights
from ragecho.kernel.ids import ChunkId, DocumentId, VersionId
from ragecho.kernel.passages import Passage
from ragecho.kernel.sentences import sentence_spans
from ragecho.library.analysis import terms_of
from ragecho.platform.settings import Settings
from ragecho.ports.embedder import Embedder
from ragecho.ports.reranker import Reranker
from ragecho.wiring import build_embedder, build_reranker

Floats = NDArray[np.float64]
CHUNK_CHARS = 1800
PASSAGES = 8
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
ANSWERABLE = ("nq", "sq")
CLIP = 1e-5


def data_folder() -> Path:
    """Return where the evaluation data lies."""
    return Path(os.environ.get("RAGECHO_TEST_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")) / "retrieval"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True)
class Question:
    """A question, its kind, and the data set whose documents are taken away for it."""

    kind: str
    text: str
    metadata: dict[str, Any]
    without: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What was found for a question."""

    question: Question
    passages: list[Passage]
    windows: list[ScoredWindow]
    signals: Signals


def chunked(data: str, document: dict[str, Any]) -> list[tuple[str, str, str, int, str]]:
    """Return (set, document, title, start, text) of every chunk of whole sentences."""
    text, title = document["text"], document.get("title", "")
    chunks: list[tuple[int, int]] = []
    for start, end in sentence_spans(text):
        if chunks and end - chunks[-1][0] <= CHUNK_CHARS:
            chunks[-1] = (chunks[-1][0], end)
            continue
        chunks.append((start, end))
    return [(data, document["_id"], title, start, text[start:end]) for start, end in chunks]


class Corpus:
    """Chunks of several data sets with exact hybrid search."""

    def __init__(self, sizes: dict[str, int | None], embedder: Embedder) -> None:
        self._embedder = embedder
        pick = random.Random(7)
        self.chunks = []
        for name, size in sizes.items():
            documents = read_lines(data_folder() / name / "corpus.jsonl")
            for document in pick.sample(documents, min(size, len(documents))) if size else documents:
                self.chunks += chunked(name, document)
        self._sets = np.array([chunk[0] for chunk in self.chunks])
        counts = [Counter(terms_of(f"{title} {text}")) for _, _, title, _, text in self.chunks]
        self._lengths = np.array([sum(count.values()) for count in counts])
        self._postings: dict[str, list[tuple[int, int]]] = {}
        for index, count in enumerate(counts):
            for term, times in count.items():
                self._postings.setdefault(term, []).append((index, times))

    async def embed(self) -> None:
        """Embed every chunk."""
        texts = [f"{title}\n{text}" if title else text for _, _, title, _, text in self.chunks]
        self._vectors = await self._embedder.embed_passages(texts)

    async def search(self, question: str, *, without: str | None) -> list[Passage]:
        """Return the best passages by fused rank."""
        is_there = self._sets != without if without else np.ones(len(self.chunks), bool)
        cosine = np.where(is_there, self._vectors @ await self._embedder.embed_query(question), -9)
        words = np.where(is_there, self._bm25(question), -9)
        fused = np.zeros(len(self.chunks))
        for scores, floor in ((cosine, -1.0), (words, 0.0)):
            for rank, index in enumerate(np.argsort(-scores)[:100]):
                fused[index] += (scores[index] > floor) / (61 + rank)
        return [
            self._passage(int(i), float(cosine[i]), float(words[i]), float(fused[i]))
            for i in np.argsort(-fused)[:PASSAGES]
        ]

    def _bm25(self, question: str) -> Floats:
        scores = np.zeros(len(self.chunks))
        for term in set(terms_of(question)):
            found = self._postings.get(term, [])
            idf = np.log(1 + (len(self.chunks) - len(found) + 0.5) / (len(found) + 0.5))
            for index, times in found:
                length = 0.25 + 0.75 * self._lengths[index] / self._lengths.mean()
                scores[index] += idf * times * 2.2 / (times + 1.2 * length)
        return scores

    def _passage(self, index: int, cosine: float, words: float, fused: float) -> Passage:
        name, document, title, start, text = self.chunks[index]
        identity = uuid5(NAMESPACE_URL, f"{name}/{document}")
        return Passage(
            chunk_id=ChunkId(uuid5(identity, str(start))),
            document_id=DocumentId(identity),
            version_id=VersionId(identity),
            filename=document,
            title=title or None,
            heading_path=(),
            page=None,
            start=start,
            end=start + len(text),
            text=text,
            content_sha256="",
            score=fused,
            scores={"vector": cosine, "lexical": words, "fused": fused},
        )


def questions(*, is_quick: bool) -> list[Question]:
    """Return all questions, always the same ones."""
    pick = random.Random(11)
    nq = read_lines(data_folder() / "clapnq_give" / "queries.jsonl")
    sq = pick.sample(read_lines(data_folder() / "xquad_en" / "queries.jsonl"), 250)
    claims = pick.sample(read_lines(data_folder() / "scifact" / "queries.jsonl"), 100)
    made = [Question("nq" if q["metadata"]["answerable"] else "near", q["text"], q["metadata"]) for q in nq]
    made += [Question("nq_cross", q["text"], {}, "clapnq_give") for q in nq[::2]]
    made += [Question("sq", q["text"], q["metadata"]) for q in sq]
    made += [Question("sq_cross", q["text"], {}, "xquad_en") for q in sq[:150]]
    made += [Question("sf_cross", q["text"], {}, "scifact") for q in claims]
    return made[::6] if is_quick else made


async def look(question: Question, corpus: Corpus, reranker: Reranker | None) -> Outcome:
    """Return what the judge sees, by the same functions."""
    passages = await corpus.search(question.text, without=question.without)
    weights = term_weights(question.text, passages)
    windows = best_windows(weights, passages, quotas=QUOTAS)
    scores = [w.coverage for w in windows]
    if reranker is not None:
        scores = await reranker.score(
            question.text, [read_with_context(passages[w.passage], w.start, w.end) for w in windows]
        )
    scored = [ScoredWindow(window, score) for window, score in zip(windows, scores, strict=True)]
    scored.sort(key=lambda s: (-s.score, s.window.passage, s.window.start))
    return Outcome(question, passages, scored, signals_of(scored, passages, weights, is_reread=reranker is not None))


def row(signals: Signals, columns: Sequence[str]) -> list[float]:
    """Return the signals as numbers; the cross-encoder's probability as a logit."""
    values = {name: float(getattr(signals, name) or 0.0) for name in columns}
    if "reread" in values:
        clipped = min(max(values["reread"], CLIP), 1 - CLIP)
        values["reread"] = float(np.log(clipped / (1 - clipped)))
    return list(values.values())


def auc(scores: Floats, truth: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve."""
    ranks = scores.argsort().argsort()
    return float((ranks[truth].mean() - (truth.sum() - 1) / 2) / (~truth).sum())


def fit(x: Floats, y: Floats) -> tuple[Floats, float]:
    """Return weights and bias of a ridge logistic regression (Newton's method)."""
    mean, deviation = x.mean(0), x.std(0)
    z = np.c_[(x - mean) / deviation, np.ones(len(x))]
    ridge = np.diag(np.r_[np.full(x.shape[1], 1e-3 * len(y)), 0])
    weights = np.zeros(z.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-z @ weights))
        hessian = (z * (p * (1 - p))[:, None]).T @ z + ridge
        weights -= np.linalg.solve(hessian, z.T @ (p - y) + ridge @ weights)
    slopes = weights[:-1] / deviation
    return slopes, float(weights[-1] - (slopes * mean).sum())


def calibrate(outcomes: Sequence[Outcome], columns: Sequence[str]) -> dict[str, Any]:
    """Return AUCs, the share answered at each threshold by kind, and the weights fitted on all."""
    kinds = np.array([outcome.question.kind for outcome in outcomes])
    x = np.array([row(outcome.signals, columns) for outcome in outcomes])
    y = np.isin(kinds, ANSWERABLE).astype(float)
    fold = np.random.default_rng(0).integers(0, 5, len(y))
    confidence = np.zeros(len(y))
    for number in range(5):
        slopes, bias = fit(x[fold != number], y[fold != number])
        confidence[fold == number] = 1 / (1 + np.exp(-(x[fold == number] @ slopes + bias)))
    slopes, bias = fit(x, y)
    nq = np.isin(kinds, ("nq", "near"))
    shares = {}
    for threshold in THRESHOLDS:
        is_answered = confidence >= threshold
        refused_right = int((~is_answered & (y == 0)).sum())
        shares[threshold] = {kind: round(float(is_answered[kinds == kind].mean()), 3) for kind in sorted(set(kinds))}
        shares[threshold]["refusal_precision"] = round(refused_right / max(1, int((~is_answered).sum())), 3)
        shares[threshold]["refusal_recall"] = round(refused_right / int((y == 0).sum()), 3)
    return {
        "auc": round(auc(confidence, y == 1), 3),
        "auc_nq_near": round(auc(confidence[nq], kinds[nq] == "nq"), 3),
        "weights": dict(zip(columns, slopes.round(3).tolist(), strict=True)) | {"bias": round(bias, 3)},
        "answered": shares,
    }


def is_hit(question: Question, quotes: Sequence[str]) -> bool:
    """Tell whether the quotes hold a gold sentence (nq), or the answer's words (sq)."""
    text = " ".join(quotes)
    if question.kind == "sq":
        return any(answer.lower() in text.lower() for answer in question.metadata["answers"])
    gold = {" ".join(s.split()) for variant in question.metadata["selected_sentences"] for s in variant}
    return any(sentence in text or any(len(q) > 20 and q in sentence for q in quotes) for sentence in gold)


async def quote(outcomes: Sequence[Outcome], embedder: Embedder, reranker: Reranker | None) -> dict[str, Any]:
    """Return how often the extractive answer holds the reference answer, of all and of those answered."""
    found: dict[str, list[tuple[bool, bool, int]]] = {}
    calibration = calibration_for(embedder.model, reranker.model if reranker else None)
    for outcome in outcomes:
        if outcome.question.kind not in ANSWERABLE:
            continue
        passages, windows = rerank(outcome.passages, outcome.windows, is_reread=reranker is not None)
        answer = await answer_extractively(outcome.question.text, passages, windows, reranker=reranker)
        texts = [sentence.text for sentence in answer]
        is_answered = calibration.confidence(outcome.signals) >= calibration.threshold
        hit = is_hit(outcome.question, texts)
        found.setdefault(outcome.question.kind, []).append((hit, is_answered, sum(map(len, texts))))
    return {
        kind: {
            "questions": len(rows),
            "answered": round(sum(a for _, a, _ in rows) / len(rows), 3),
            "hit": round(sum(h for h, _, _ in rows) / len(rows), 3),
            "hit_when_answered": round(sum(h for h, a, _ in rows if a) / max(1, sum(a for _, a, _ in rows)), 3),
            "mean_chars": round(sum(c for *_, c in rows) / len(rows)),
        }
        for kind, rows in found.items()
    }


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    settings = Settings(reranker=arguments.reranker)
    embedder, reranker = build_embedder(settings), build_reranker(settings)
    corpus = Corpus({"clapnq_give": None, "xquad_en": None, "scifact": 200 if arguments.quick else 1200}, embedder)
    await corpus.embed()
    started = time.perf_counter()
    outcomes = [await look(q, corpus, reranker) for q in questions(is_quick=arguments.quick)]
    judged = time.perf_counter()
    words = ("coverage", "first_coverage")
    with_reader = {
        "cosine, reread, words": ("reread", "cosine", "reread_coverage"),
        "reread, words": ("reread", "reread_coverage"),
    }
    variants = {"cosine, words": ("cosine", *words), "words": words} | (with_reader if reranker else {})
    return {
        "chunks": len(corpus.chunks),
        "questions": dict(Counter(outcome.question.kind for outcome in outcomes)),
        "judge_ms": round((judged - started) / len(outcomes) * 1e3),
        "calibration": {name: calibrate(outcomes, columns) for name, columns in variants.items()},
        "extractive": await quote(outcomes, embedder, reranker),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a sixth of the questions, fewer distractors")
    parser.add_argument("--reranker", default="ms-marco-MiniLM-L-12-v2", help="`none` measures without one")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    report = json.dumps(asyncio.run(measure(arguments)), indent=1)
    print(report)
    if arguments.json:
        arguments.json.write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
