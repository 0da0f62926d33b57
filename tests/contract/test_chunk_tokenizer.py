"""The chunker with the real tokenizers and real documents."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from ragecho.engines.models.store import default_model_dir
from ragecho.engines.parsing import SandboxedParser
from ragecho.ingest.steps.chunk import chunk
from ragecho.kernel.parsed import BlockKind
from ragecho.ports.parser import ParseLimits

FILES = (
    "pdf/redp5110_sampled.pdf",
    "pdf/react_paper.pdf",
    "pdf/normal_4pages.pdf",
    "html/wiki_duck.html",
    "md/nested.md",
    "epub/epub_purvis_poetry.epub",
)


class RealTokens:
    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [found.offsets for found in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(found) for found in self.offsets(texts)]


@pytest.mark.parametrize("name", FILES)
def test_chunks_of_real_documents_keep_their_promises_with_the_real_tokenizer(name: str) -> None:
    tokenizers = sorted(default_model_dir().glob("bge-*/*/tokenizer.json"))
    root = os.environ.get("RAGECHO_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data"
    path = Path(root) / "documents" / name
    if not tokenizers or not path.is_file():
        pytest.skip("the model's tokenizer or the shared test documents are not here")
    tokens = RealTokens(tokenizers[0])

    async def parse():
        async with SandboxedParser() as parser:
            return await parser.parse(path, filename=path.name, content_type=None, limits=ParseLimits())

    document = asyncio.run(parse())
    chunks = chunk(document, title=document.title or name, tokens=tokens)
    covered = bytearray(len(document.text))
    for one in chunks:
        assert one.text == document.text[one.start : one.end]
        assert one.tokens == len(tokens.offsets([one.embedded_text])[0]) + 2 <= 512
        covered[one.start : one.end] = b"\1" * (one.end - one.start)
    for block in document.blocks:
        if block.kind not in (BlockKind.HEADER, BlockKind.FOOTER):
            missed = [at for at in range(block.start, block.end) if not covered[at] and not document.text[at].isspace()]
            assert not missed
