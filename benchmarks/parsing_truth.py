"""Parsed text against ground truth: the token F1 of each document and of each type of document."""

import html
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_COMMENT = re.compile(r"<!--.*?-->|<[!/a-zA-Z][^<>]*>", re.S)
_LINK = re.compile(r"!?\[([^\]]*)\]\((?:[^()\s]|\([^()]*\))*\)")
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>~$&\"'])")
_TOKEN = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")


@dataclass(frozen=True, slots=True)
class Truth:
    """A document of the shared collection: its file, what reading it must give, and what opens it."""

    file: str
    kind: str
    text: str | None
    password: str | None

    @property
    def type(self) -> str:
        """The folder that the file lies in: pdf, docx, scan and so on."""
        return self.file.partition("/")[0]


def collection(folder: Path) -> list[Truth]:
    """Return the documents that the manifest of `folder` lists."""
    found = []
    for one in json.loads((folder / "manifest.json").read_text(encoding="utf-8")):
        truth = one.get("ground_truth")
        text = (folder / truth).read_text(encoding="utf-8") if truth else None
        found.append(Truth(one["file"], one["kind"], text, one.get("password")))
    return found


# The truth of these has a part of what the page says: only whether that part was found is counted.
EXCERPTS = frozenset({"scan/linn.pdf"})
# What reading each of these must end with; all others are read.
REASONS = {
    "broken/invalid.pdf": "damaged",
    "broken/blank.pdf": "empty",
    "bomb/xxe.xml": "entities",
    "bomb/symlink-etc_passwd.zip": "unsafe_archive",
    "bomb/ssrf_svg_image.svg": "empty",
    "odf/nasty.odt": "entities",
}


def tokens(text: str) -> Counter[str]:
    """Return the words of a text, or its characters where a script has no spaces; case and Markdown's marks ignored."""
    text = html.unescape(_ESCAPE.sub(r"\1", _LINK.sub(r"\1", _COMMENT.sub(" ", text))))
    return Counter(_TOKEN.findall(unicodedata.normalize("NFKC", text).casefold()))


def token_f1(found: str, truth: str) -> float:
    """Return the harmonic mean of precision and recall over words with their counts."""
    ours, theirs = tokens(found), tokens(truth)
    common = (ours & theirs).total()
    if not common:
        return float(not ours and not theirs)
    precision, recall = common / ours.total(), common / theirs.total()
    return 2 * precision * recall / (precision + recall)


def recall(found: str, truth: str) -> float:
    """Return the share of the truth's words that were found."""
    theirs = tokens(truth)
    return (tokens(found) & theirs).total() / theirs.total() if theirs else 1.0


def score(document: Truth, found: str) -> float | None:
    """Return how well a document was read, 0 to 1; None when there is no truth to compare with."""
    if document.text is None:
        return None
    return recall(found, document.text) if document.file in EXCERPTS else token_f1(found, document.text)


def by_type(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of each type, of scores by file."""
    groups: dict[str, list[float]] = defaultdict(list)
    for file, score in scores.items():
        groups[file.partition("/")[0]].append(score)
    return {kind: round(sum(found) / len(found), 4) for kind, found in sorted(groups.items())}


def table(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as aligned text."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
