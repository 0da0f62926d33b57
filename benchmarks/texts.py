"""Texts for benchmarks: real passages of a suite where there is a folder of suites, those of the package otherwise."""

import os
import random
from dataclasses import dataclass
from pathlib import Path

from ragecho.evals.suites import SMOKE, load_suite

DEFAULT_DATA = Path("../shared/data/retrieval")


@dataclass(frozen=True, slots=True)
class Texts:
    """Passages with titles, and questions."""

    source: str
    passages: tuple[tuple[str, str], ...]
    questions: tuple[str, ...]

    def mixed_passage(self, rng: random.Random, words: int = 100) -> str:
        """Return a new passage of about `words` words, cut out of two."""
        first, second = (rng.choice(self.passages)[1].split() for _ in range(2))
        half = words // 2
        parts = []
        for source in (first, second):
            start = rng.randrange(max(1, len(source) - half))
            parts.extend(source[start : start + half])
        return " ".join(parts)

    def fresh_questions(self, count: int, rng: random.Random) -> list[str]:
        """Return `count` different questions, so that no cache of questions answers for the server."""
        words = sorted({word for question in self.questions for word in question.split() if len(word) > 4})
        asked: dict[str, None] = {}
        while len(asked) < count:
            asked[f"{rng.choice(self.questions)} {rng.choice(words)} {rng.choice(words)}"] = None
        return list(asked)


def data_folder() -> Path:
    """Return the folder of the evaluation suites."""
    return Path(os.environ.get("RAGECHO_EVAL_DATA") or DEFAULT_DATA)


def load_texts() -> Texts:
    """Return the texts of SciFact if RAGECHO_EVAL_DATA or the shared folder holds it, else of the packaged suite."""
    data = data_folder()
    suite = load_suite("scifact", data) if (data / "scifact").is_dir() else load_suite(SMOKE, None)
    return Texts(
        source=suite.name,
        passages=tuple((document.title, document.text) for document in suite.documents),
        questions=tuple(question.text for question in suite.questions),
    )
