"""The sandbox with real processes: a bad file fails alone, and nothing of it reaches the caller."""

import asyncio
import io
import os
import signal
import socket
import zipfile
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from ragecho.engines.parsing import SandboxedParser
from ragecho.engines.parsing.confine import confine, prepare_walls
from ragecho.kernel.errors import ParseFailed, Unavailable
from ragecho.kernel.parsed import BlockKind, ParsedDocument
from ragecho.ports.parser import ParseLimits, Parser, ParseRequest

LIMITS = ParseLimits()
SLOW = b"<div><p>word <b>and</b> word</p><table><tr><td>x</td></tr></table></div>\n" * 200_000


def data_folder() -> Path:
    root = os.environ.get("RAGECHO_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(root) / "documents"
    if not folder.is_dir():
        pytest.skip("the shared test documents are not here")
    return folder


async def read(parser: Parser, path: Path, limits: ParseLimits = LIMITS) -> ParsedDocument:
    return await parser.parse(path, filename=path.name, content_type=None, limits=limits)


async def reason(parser: Parser, path: Path, limits: ParseLimits = LIMITS) -> str:
    try:
        await read(parser, path, limits)
    except ParseFailed as error:
        return error.reason
    return "ok"


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def pdf(objects: list[bytes]) -> bytes:
    """Return a PDF of numbered objects, the first of which is the catalogue."""
    out = b"%PDF-1.7\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"trailer\n<</Root 1 0 R /Size %d>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)


def text_pdf(pages: list[bytes], *, compress: bool = False) -> bytes:
    """Return a PDF with one content stream per page, in Helvetica."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * n) for n in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(pages)),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for n, content in enumerate(pages):
        body = zlib.compress(content, 9) if compress else content
        filter_name = b"/Filter/FlateDecode" if compress else b""
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents %d 0 R/Resources<</Font<</F 3 0 R>>>>>>"
            % (5 + 2 * n)
        )
        objects.append(b"<</Length %d%s>>stream\n%s\nendstream" % (len(body), filter_name, body))
    return pdf(objects)


def lines(*rows: tuple[int, int, str]) -> bytes:
    return b"".join(b"BT /F %d Tf 50 %d Td (%s) Tj ET\n" % (size, y, text.encode()) for size, y, text in rows)


@asynccontextmanager
async def sandbox(max_concurrency: int = 2) -> AsyncIterator[SandboxedParser]:
    async with SandboxedParser(max_concurrency=max_concurrency) as parser:
        yield parser


async def child_of(parser: SandboxedParser) -> psutil.Process:
    """Return the process of the document being parsed, once there is one."""
    async with asyncio.timeout(30):
        while True:
            if parser.zygote_pid is not None and (children := psutil.Process(parser.zygote_pid).children()):
                return children[0]
            await asyncio.sleep(0.005)


def test_documents_are_read_and_the_sandbox_ends_with_its_context(tmp_path: Path) -> None:
    async def run() -> None:
        async with sandbox() as parser:
            document = await read(parser, written(tmp_path, "a.md", b"# Title\n\nText."))
            assert document.title == "Title"
            zygote = psutil.Process(parser.zygote_pid)
        assert not zygote.is_running() or zygote.status() == psutil.STATUS_ZOMBIE
        with pytest.raises(Unavailable):
            await read(parser, tmp_path / "a.md")

    asyncio.run(run())


def test_a_pdf_has_pages_boxes_headings_and_running_lines_at_the_end(tmp_path: Path) -> None:
    pages = [
        lines(
            (9, 780, "Yearly report of the company"),
            (22, 700, f"Chapter {n}"),
            (11, 660, f"This is the text of page {n}, which says something longer than a line."),
            (9, 20, f"Page {n} of 4"),
        )
        for n in range(1, 5)
    ]

    async def run() -> ParsedDocument:
        async with sandbox() as parser:
            return await read(parser, written(tmp_path, "r.pdf", text_pdf(pages)))

    document = asyncio.run(run())
    assert [page.number for page in document.pages] == [1, 2, 3, 4]
    assert document.pages[0].width == 600
    kinds = [block.kind for block in document.blocks]
    assert kinds.count(BlockKind.HEADER) == kinds.count(BlockKind.FOOTER) == 4
    assert set(kinds[-8:]) == {BlockKind.HEADER, BlockKind.FOOTER}
    for page, n in zip(document.pages, range(1, 5), strict=True):
        assert f"text of page {n}" in document.text[page.start : page.end]
    heading = document.blocks[0]
    assert document.text[heading.start : heading.end] == "Chapter 1"
    assert heading.kind is BlockKind.HEADING
    assert heading.box is not None
    assert 0.05 < heading.box[1] < heading.box[3] < 0.2


def test_every_limit_has_its_own_reason(tmp_path: Path) -> None:
    slow = written(tmp_path, "slow.html", SLOW)
    large = written(tmp_path, "large.txt", b"word " * 20_000_000)
    pages = written(tmp_path, "pages.pdf", text_pdf([lines((12, 700, "One page")) for _ in range(5)]))

    async def run() -> dict[str, str]:
        async with sandbox() as parser:
            return {
                "wall": await reason(parser, slow, ParseLimits(wall_seconds=0.3)),
                "cpu": await reason(parser, slow, ParseLimits(cpu_seconds=1)),
                "memory": await reason(parser, large, ParseLimits(memory_bytes=250 * 1024**2)),
                "output": await reason(parser, pages, ParseLimits(output_bytes=200)),
                "pages": await reason(parser, pages, ParseLimits(pages=4)),
                "characters": await reason(parser, slow, ParseLimits(characters=1000)),
                "none": await reason(parser, pages),
            }

    assert asyncio.run(run()) == {
        "wall": "timeout",
        "cpu": "cpu_limit",
        "memory": "memory_limit",
        "output": "output_limit",
        "pages": "too_many_pages",
        "characters": "too_long",
        "none": "ok",
    }


def test_a_child_that_dies_fails_its_own_document_only(tmp_path: Path) -> None:
    async def run() -> None:
        async with sandbox() as parser:
            good = written(tmp_path, "good.txt", b"Good.")
            await read(parser, good)
            zygote = parser.zygote_pid
            task = asyncio.create_task(reason(parser, written(tmp_path, "slow.html", SLOW)))
            (await child_of(parser)).send_signal(signal.SIGSEGV)
            assert await task == "crashed"
            assert (await read(parser, good)).text == "Good."
            assert parser.zygote_pid == zygote

    asyncio.run(run())


def test_a_killed_zygote_is_started_again_and_takes_its_children_with_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with sandbox() as parser:
            task = asyncio.create_task(read(parser, written(tmp_path, "slow.html", SLOW[: len(SLOW) // 8])))
            child = await child_of(parser)
            first = parser.zygote_pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            assert (await task).text.startswith("word and word")
            assert parser.zygote_pid != first
            assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE

    asyncio.run(run())


def test_a_cancelled_parse_kills_its_process(tmp_path: Path) -> None:
    async def run() -> None:
        async with sandbox(max_concurrency=1) as parser:
            task = asyncio.create_task(read(parser, written(tmp_path, "slow.html", SLOW)))
            child = await child_of(parser)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(30):
                while child.is_running():  # noqa: ASYNC110 (another process gives no event)
                    await asyncio.sleep(0.005)
            assert (await read(parser, written(tmp_path, "a.txt", b"Next."))).text == "Next."

    asyncio.run(run())


def test_no_more_documents_than_allowed_are_parsed_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with sandbox(max_concurrency=1) as parser:
            path = written(tmp_path, "slow.html", SLOW[: len(SLOW) // 40])
            tasks = [asyncio.create_task(read(parser, path)) for _ in range(3)]
            await child_of(parser)
            most = 0
            while not all(task.done() for task in tasks):
                most = max(most, len(psutil.Process(parser.zygote_pid).children()))
                await asyncio.sleep(0.005)
            assert most == 1

    asyncio.run(run())


def test_a_confined_process_has_no_network_and_starts_no_program_and_reads_no_foreign_file(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "other-tenant.txt"
    secret.write_text("secret")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        found = []
        try:
            found.append(",".join(confine(ParseLimits(), prepare_walls())))
            for attempt in (socket.socket, lambda: os.execv("/bin/true", ["true"]), secret.read_text):
                try:
                    attempt()
                    found.append("allowed")
                except PermissionError:
                    found.append("denied")
        finally:
            os.write(writer, "|".join(found).encode())
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as result:
        walls, *attempts = result.read().decode().split("|")
    assert "system call filter" in walls
    assert attempts[:2] == ["denied", "denied"]
    if "files" not in walls.split(","):
        pytest.skip("this kernel has no Landlock")
    assert attempts == ["denied", "denied", "denied"]


def test_the_zygote_knows_none_of_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGECHO_DATABASE_URL", "postgresql://secret")

    async def run() -> dict[str, str]:
        async with sandbox() as parser:
            await read(parser, written(tmp_path, "a.txt", b"Text."))
            return psutil.Process(parser.zygote_pid).environ()

    assert not [name for name in asyncio.run(run()) if name.startswith(("RAGECHO", "OPENAI", "ANTHROPIC"))]


def hostile() -> dict[str, bytes]:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", b"<w:document>" + b"A" * 300_000_000)
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    laughs = io.BytesIO()
    with zipfile.ZipFile(laughs, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        xml = f'<?xml version="1.0"?><!DOCTYPE w [<!ENTITY e0 "ha">{entities}]><w:document>&e9;</w:document>'
        archive.writestr("word/document.xml", xml)
    return {
        "flate.pdf": text_pdf([b"BT /F 12 Tf (x) Tj ET " + b" " * 400_000_000], compress=True),
        "many.pdf": text_pdf([lines((12, 700, "x"))] * 300),
        "cut.pdf": text_pdf([lines((12, 700, "Some text"))])[:-200],
        "bomb.docx": bomb.getvalue(),
        "laughs.docx": laughs.getvalue(),
        "deep.html": b"<div>" * 200_000 + b"x",
        "deep.md": b">" * 50_000 + b" x",
        "brackets.md": b"[" * 100_000,
        "stars.md": b"*a_ " * 50_000,
        "zeros.txt": bytes(50_000_000),
        "random.docx": b"PK\x03\x04" + os.urandom(100_000),
        "attribute.html": b"<a " + b'x="' * 200_000,
        "open.html": b"<" * 500_000 + b"!--" * 100_000,
    }


def test_hostile_files_fail_alone_within_their_limits(tmp_path: Path) -> None:
    limits = ParseLimits(memory_bytes=1024**3, cpu_seconds=10, wall_seconds=40)

    async def run() -> tuple[dict[str, str], ParsedDocument]:
        async with sandbox() as parser:
            files = {name: written(tmp_path, name, data) for name, data in hostile().items()}
            found = await asyncio.gather(*(reason(parser, path, limits) for path in files.values()))
            return dict(zip(files, found, strict=True)), await read(parser, written(tmp_path, "a.txt", b"Alive."))

    found, document = asyncio.run(run())
    assert document.text == "Alive."
    assert "crashed" not in found.values(), found
    assert "timeout" not in found.values(), found
    assert found["zeros.txt"] == "empty"
    assert found["random.docx"] == "damaged"


SHARED = {
    "pdf_encrypted/2206.01062_pg3.pdf": "encrypted",
    "pdf_encrypted/r6-user-password.pdf": "encrypted",
    "broken/blank.pdf": "empty",
    "broken/invalid.pdf": "damaged",
    "broken/truetype_font_nomapping.pdf": "ok",
    "broken/content-stream-errors.pdf": "ok",
    "bomb/xxe.xml": "entities",
    "bomb/symlink-etc_passwd.zip": "unsafe_archive",
    "bomb/ssrf_svg_image.svg": "empty",
    "pdf/multi_page.pdf": "ok",
    "pdf_form/form_dd0293.pdf": "ok",
    "html/wiki_duck.html": "ok",
    "md/nested.md": "ok",
    "docx/word_sample.docx": "ok",
    "xlsx/xlsx_01.xlsx": "ok",
    "pptx/pptx_chart.pptx": "ok",
}


def test_real_files_are_read_or_refused_with_the_right_reason() -> None:
    folder = data_folder()

    async def run() -> dict[str, str]:
        async with sandbox() as parser:
            found = await asyncio.gather(*(reason(parser, folder / name) for name in SHARED))
            return dict(zip(SHARED, found, strict=True))

    assert asyncio.run(run()) == SHARED


def test_what_was_entered_into_a_form_is_read(tmp_path: Path) -> None:
    objects = [
        b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[5 0 R 6 0 R]>>>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Annots[5 0 R 6 0 R]>>",
        b"<</Length 0>>stream\n\nendstream",
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(agency)/TU(Name of the agency)/V(Fish and Wildlife)/Rect[50 700 300 720]>>",
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(empty)/Rect[50 600 300 620]>>",
    ]

    async def run() -> ParsedDocument:
        async with sandbox() as parser:
            return await read(parser, written(tmp_path, "form.pdf", pdf(objects)))

    assert asyncio.run(run()).text == "Name of the agency: Fish and Wildlife"


def png_size(picture: bytes) -> tuple[int, int]:
    return int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])


def yellow_share(picture: bytes) -> float:
    """Return the share of pixels that are marked; reads the PNGs that Echo writes (one part, no row filters)."""
    width, height = png_size(picture)
    start = picture.index(b"IDAT")
    rows = zlib.decompress(picture[start + 4 :])
    pixels = b"".join(rows[y * (width * 3 + 1) + 1 : (y + 1) * (width * 3 + 1)] for y in range(height))
    return sum(blue < 100 < red for red, blue in zip(pixels[::3], pixels[2::3], strict=True)) / (width * height)


def test_a_page_is_a_picture_with_the_cited_words_marked(tmp_path: Path) -> None:
    page = lines((20, 700, "The cited words stand here."), (20, 400, "Nothing to see."))
    path = written(tmp_path, "p.pdf", text_pdf([page, page]))

    async def run() -> None:
        async with sandbox() as parser:
            unmarked = await parser.render_page(path, page=2, width=600, limits=LIMITS)
            quoted = await parser.render_page(path, page=2, width=600, quotes=["cited words"], limits=LIMITS)
            boxed = await parser.render_page(
                path, page=2, width=600, quotes=["not there"], boxes=[(0, 0, 0.5, 0.5)], limits=LIMITS
            )
            assert png_size(unmarked) == (600, 800)
            assert yellow_share(unmarked) == 0
            assert 0.001 < yellow_share(quoted) < 0.02
            assert 0.24 < yellow_share(boxed) < 0.26
            for number in (0, 3):
                with pytest.raises(ParseFailed) as caught:
                    await parser.render_page(path, page=number, limits=LIMITS)
                assert caught.value.reason == "no_page"

    asyncio.run(run())


def test_files_read_together_give_what_each_gives_alone(tmp_path: Path) -> None:
    files = [
        written(tmp_path, "a.txt", "Ein Satz für sich.".encode()),
        written(tmp_path, "b.md", b"# Title\n\nWords."),
        written(tmp_path, "empty.txt", b""),
        written(tmp_path, "c.html", b"<html><body><h1>Head</h1><p>Text.</p></body></html>"),
        written(tmp_path, "broken.pdf", b"%PDF-1.7\nnothing"),
        written(tmp_path, "binary.txt", bytes(range(256)) * 8),
        *(written(tmp_path, f"note-{number}.txt", b"Note %d." % number) for number in range(40)),
    ]

    async def run() -> None:
        async with sandbox() as parser:
            together = await parser.parse_many([ParseRequest(path, path.name) for path in files], limits=LIMITS)
            assert len(together) == len(files)
            for path, found in zip(files, together, strict=True):
                if isinstance(found, ParseFailed):
                    assert found.reason == await reason(parser, path)
                else:
                    assert found == await read(parser, path)

    asyncio.run(run())


def test_one_that_kills_its_process_takes_no_other_with_it(tmp_path: Path) -> None:
    files = [
        written(tmp_path, "a.txt", b"Text."),
        written(tmp_path, "long.md", b"> " * 60_000 + b"deep"),
        written(tmp_path, "b.txt", b"More."),
    ]

    async def run() -> list[ParsedDocument | ParseFailed]:
        limits = ParseLimits(memory_bytes=300 * 1024**2, wall_seconds=20)
        async with sandbox() as parser:
            return await parser.parse_many([ParseRequest(path, path.name) for path in files], limits=limits)

    first, _, last = asyncio.run(run())
    assert isinstance(first, ParsedDocument)
    assert isinstance(last, ParsedDocument)
    assert (first.text, last.text) == ("Text.", "More.")
