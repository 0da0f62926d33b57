"""Pictures of text and files with passwords through the sandbox, with the real engine."""

import asyncio
import io
import os
import zipfile
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from pathlib import Path

import msoffcrypto
import pytest
from PIL import Image, ImageDraw, ImageFont

from ragecho.engines.ocr import tesseract
from ragecho.engines.parsing import Ocr, SandboxedParser
from ragecho.kernel.errors import ParseFailed
from ragecho.kernel.parsed import BlockKind, ParsedDocument
from ragecho.ports.parser import ParseLimits, ParseRequest

LIMITS = ParseLimits()
ENGLISH = Ocr(languages=("eng",))
WORDS = "The harbour was closed\nbecause of the storm\nthat came on Friday."
PLAIN = " ".join(WORDS.split())

pytestmark = pytest.mark.skipif(not tesseract.installed(("eng",))[1], reason="no English model is installed")


def picture(text: str = WORDS, size: tuple[int, int] = (1000, 500)) -> Image.Image:
    image = Image.new("L", size, 255)
    ImageDraw.Draw(image).multiline_text((80, 80), text, 0, ImageFont.load_default(48), spacing=24)
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def read(
    *files: tuple[str, bytes], folder: Path, ocr: Ocr = ENGLISH, passwords: tuple[str, ...] = ()
) -> list[ParsedDocument | ParseFailed]:
    requests = []
    for name, data in files:
        path = folder / name
        path.write_bytes(data)
        requests.append(ParseRequest(path, name, passwords=passwords))

    async def run() -> list[ParsedDocument | ParseFailed]:
        async with SandboxedParser(ocr=ocr) as parser:
            return await parser.parse_many(requests, limits=LIMITS)

    return asyncio.run(run())


def one(name: str, data: bytes, folder: Path, ocr: Ocr = ENGLISH, passwords: tuple[str, ...] = ()) -> ParsedDocument:
    (found,) = read((name, data), folder=folder, ocr=ocr, passwords=passwords)
    assert isinstance(found, ParsedDocument), found
    return found


def reason(name: str, data: bytes, folder: Path, ocr: Ocr = ENGLISH, passwords: tuple[str, ...] = ()) -> str:
    (found,) = read((name, data), folder=folder, ocr=ocr, passwords=passwords)
    return found.reason if isinstance(found, ParseFailed) else "ready"


def test_pictures_of_every_format_are_read(tmp_path: Path) -> None:
    kinds = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
    found = read(*((f"a.{kind.lower()}", saved(picture(), kind)) for kind in kinds), folder=tmp_path)
    for document in found:
        assert isinstance(document, ParsedDocument)
        assert " ".join(document.text.split()) == PLAIN
        assert [(page.number, page.is_ocr, page.width) for page in document.pages] == [(1, True, 1000.0)]
        assert document.blocks[0].box is not None


def test_each_page_of_a_tiff_is_a_page(tmp_path: Path) -> None:
    pages = [picture(f"This is page number {word}") for word in ("one", "two", "three")]
    document = one("a.tif", saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]), tmp_path)
    assert [document.text[page.start : page.end] for page in document.pages] == [
        "This is page number one",
        "This is page number two",
        "This is page number three",
    ]


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_page_is_read_and_its_boxes_are_those_of_the_page_as_it_lies(turn: int, tmp_path: Path) -> None:
    document = one("a.png", saved(picture().rotate(turn, expand=True, fillcolor=255), "PNG"), tmp_path)
    assert " ".join(document.text.split()) == PLAIN
    box = document.blocks[0].box
    assert box is not None
    upright = (0.08, 0.17, 0.62, 0.55)
    left, top, right, bottom = upright
    expected = {
        90: (top, 1 - right, bottom, 1 - left),
        180: (1 - right, 1 - bottom, 1 - left, 1 - top),
        270: (1 - bottom, left, 1 - top, right),
    }[turn]
    assert all(abs(edge - wanted) < 0.12 for edge, wanted in zip(box, expected, strict=True)), box


@pytest.mark.parametrize("angle", [-6, 4])
def test_a_slanted_page_is_read(angle: int, tmp_path: Path) -> None:
    document = one("a.png", saved(picture().rotate(angle, expand=True, fillcolor=255), "PNG"), tmp_path)
    assert " ".join(document.text.split()) == PLAIN


def scanned_pdf(*pages: str) -> bytes:
    images = [picture(page) for page in pages]
    return saved(images[0], "PDF", save_all=True, append_images=images[1:], resolution=100)


def test_a_scanned_pdf_has_its_text_page_by_page_without_running_lines(tmp_path: Path) -> None:
    pages = [picture(f"What page {word} says", (1000, 1000)) for word in ("one", "two", "three")]
    for page in pages:
        ImageDraw.Draw(page).text((80, 920), "Yearly report", 0, ImageFont.load_default(40))
    data = saved(pages[0], "PDF", save_all=True, append_images=pages[1:], resolution=100)
    document = one("a.pdf", data, tmp_path)
    assert [document.text[page.start : page.end] for page in document.pages] == [
        "What page one says",
        "What page two says",
        "What page three says",
    ]
    assert [block.kind for block in document.blocks].count(BlockKind.FOOTER) == 3


def test_pictures_within_archives_and_mail_are_read_where_they_stand(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("first.txt", "First words.")
        archive.writestr("scan.pdf", scanned_pdf("Second words here", "Third words here"))
        archive.writestr("last.txt", "Last words.")
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "ann@example.org", "Pictures"
    mail.set_content("See the picture.")
    mail.add_attachment(packed.getvalue(), maintype="application", subtype="zip", filename="all.zip")
    mail.add_attachment(saved(picture(), "PNG"), maintype="image", subtype="png", filename="photo.png")
    document = one("m.eml", mail.as_bytes(), tmp_path)
    texts = [" ".join(document.text[block.start : block.end].split()) for block in document.blocks]
    assert texts == [
        "Pictures",
        "From: ann@example.org",
        "See the picture.",
        "all.zip",
        "first.txt",
        "First words.",
        "scan.pdf",
        "Second words here",
        "Third words here",
        "last.txt",
        "Last words.",
        "photo.png",
        PLAIN,
    ]
    assert [page.label for page in document.pages] == ["scan.pdf 1", "scan.pdf 2", "photo.png 1"]
    assert document.blocks[8].heading_path == ("Pictures", "all.zip", "scan.pdf")[1:]


def test_without_recognition_the_failure_says_so_and_text_pages_are_still_read(tmp_path: Path) -> None:
    data = saved(picture(), "PNG")
    assert reason("a.png", data, tmp_path, Ocr(is_on=False)) == "ocr_off"
    (found,) = read(("a.png", data), folder=tmp_path, ocr=Ocr(languages=("zzz",)))
    assert isinstance(found, ParseFailed)
    assert found.reason == "ocr_missing"
    assert "tesseract-ocr" in found.message
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "Words.")
        archive.writestr("a.png", data)
    document = one("a.zip", packed.getvalue(), tmp_path, Ocr(is_on=False))
    assert document.warnings == ("1 of 1 pages are pictures without text and were left out.",)


def test_a_picture_without_text_and_one_too_large_have_their_reasons(tmp_path: Path) -> None:
    blank = saved(Image.new("L", (600, 600), 255), "PNG")
    assert reason("a.png", blank, tmp_path) == "no_text"
    large = saved(Image.new("1", (12_000, 12_000), 1), "PNG")
    assert reason("b.png", large, tmp_path) == "picture_too_large"
    assert reason("c.png", saved(picture(), "PNG")[:400], tmp_path) == "damaged"


def docx() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.'
            'wordprocessingml.document.main+xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/'
            'officeDocument" Target="word/document.xml"/></Relationships>',
        )
        archive.writestr(
            "word/document.xml",
            '<?xml version="1.0"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
            "<w:body><w:p><w:r><w:t>Secret words.</w:t></w:r></w:p></w:body></w:document>",
        )
        # The library that encrypts here writes files below 4 KiB wrongly.
        archive.writestr("word/media/noise.bin", os.urandom(8192))
    return out.getvalue()


def locked(data: bytes, password: str) -> bytes:
    out = io.BytesIO()
    msoffcrypto.OfficeFile(io.BytesIO(data)).encrypt(password, out)
    return out.getvalue()


def test_files_with_passwords_open_with_the_right_one_only(tmp_path: Path) -> None:
    data = locked(docx(), "käse")
    assert one("a.docx", data, tmp_path, passwords=("wrong", "käse")).text == "Secret words."
    assert reason("a.docx", data, tmp_path, passwords=("wrong",)) == "encrypted"
    assert reason("a.docx", data, tmp_path) == "encrypted"
    assert "käse" not in repr(ParseRequest(tmp_path, "a", passwords=("käse",)))


def shared(name: str) -> bytes:
    from benchmarks.parsing import data_folder

    path = data_folder() / name
    if not path.is_file():
        pytest.skip("the shared test documents are not here")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("pdf_encrypted/r6-user-password.pdf", "asdfzxcv"),
        ("pdf_encrypted/2206.01062_pg3.pdf", "1234"),
    ],
)
def test_pdfs_with_passwords_open_with_the_right_one_only(name: str, password: str, tmp_path: Path) -> None:
    data = shared(name)
    assert one("a.pdf", data, tmp_path, passwords=("wrong", password)).text
    assert reason("a.pdf", data, tmp_path, passwords=("wrong",)) == "encrypted"


def test_a_page_whose_process_dies_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(scanned_pdf("First page here", "Second page here", "Third page here"))

    async def run() -> ParsedDocument:
        async with SandboxedParser(ocr=ENGLISH) as parser:
            once: Callable[..., Awaitable[bytes]] = parser._ask

            async def ask(paths: list[Path], request: dict[str, object], limits: ParseLimits) -> bytes:
                tight = ParseLimits(memory_bytes=64 * 1024**2)  # less than the zygote itself has
                return await once(paths, request, tight if request.get("recognise") == 2 else limits)

            parser._ask = ask  # type: ignore[method-assign] (one page alone is to fail)
            return await parser.parse(path, filename="a.pdf", content_type=None, limits=LIMITS)

    document = asyncio.run(run())
    assert document.text == "First page here\n\nThird page here"
    assert document.warnings == ("No text could be recognised on pages 2 (memory_limit).",)
    assert [page.is_ocr for page in document.pages] == [True, False, True]


FRENCH = "Le déjeuner fut servi à midi,\nmais personne ne voulait manger\nà côté du château près de la forêt."


def test_a_page_is_read_by_the_model_of_its_own_language(tmp_path: Path) -> None:
    if "fra" not in tesseract.installed(("eng", "fra"))[1]:
        pytest.skip("no French model is installed")
    image = Image.new("L", (1200, 500), 255)
    fonts = [
        Path("/usr/share/fonts/truetype") / name
        for name in ("dejavu/DejaVuSans.ttf", "liberation/LiberationSans-Regular.ttf")
    ]
    font = next((path for path in fonts if path.is_file()), None)
    if font is None:
        pytest.skip("no font with accents is installed")
    ImageDraw.Draw(image).multiline_text((80, 80), FRENCH, 0, ImageFont.truetype(font, 44), spacing=24)
    document = one("a.png", saved(image, "PNG"), tmp_path, Ocr(languages=("eng", "fra")))
    assert " ".join(document.text.split()) == " ".join(FRENCH.split())
