"""Documents that real programs wrote (`tests/documents`), each with what its format can do: what is kept, and what is not."""

import asyncio
from pathlib import Path

import pytest

from ragecho.engines.parsing import SandboxedParser
from ragecho.engines.parsing.formats import parse_bytes
from ragecho.kernel.errors import ParseFailed
from ragecho.kernel.parsed import ParsedDocument
from ragecho.ports.parser import ParseLimits

FOLDER = Path(__file__).parents[1] / "documents"


def parse(name: str, *passwords: str) -> ParsedDocument:
    return parse_bytes((FOLDER / name).read_bytes(), name, ParseLimits(), passwords)


def seen(document: ParsedDocument) -> list[tuple[str, str]]:
    return [(block.kind.value, document.text[block.start : block.end]) for block in document.blocks]


def path_of(document: ParsedDocument, text: str) -> tuple[str, ...]:
    return next(one.heading_path for one in document.blocks if document.text[one.start : one.end] == text)


def test_a_word_document_is_what_a_reader_sees_when_its_changes_are_accepted() -> None:
    document = parse("handbook.docx")
    assert document.title == "Handbook"
    assert document.authors == ("Ann Roe", "Bo Li")
    assert seen(document) == [
        ("heading", "The Title"),
        ("heading", "First chapter"),
        ("paragraph", "Normal text with bold and italic words."),
        ("heading", "A section"),
        ("list_item", "- one"),
        ("list_item", "- two"),
        ("list_item", "- nested"),
        ("list_item", "1. alpha"),
        ("list_item", "2. beta"),
        ("quote", "A quoted sentence."),
        ("paragraph", "Price is INSERTEDWORDMOVEDTO"),  # not what was deleted, moved away or hidden
        (
            "table",
            "| Wide head | Wide head | C |\n| - | - | - |\n| Tall | a\\|b | line1 line2 |\n| Tall | x | y |\n"
            "| n | in1, in2; in3, in4 | last second para |",
        ),
        ("paragraph", "See the link text"),
        ("paragraph", "Page 7\tafter tab\nafter break"),
        ("paragraph", r"Formula: $\frac{a}{b}x^{2}$"),
        ("paragraph", "In a content control"),
        ("paragraph", "Before box"),
        ("paragraph", "Words in a box"),
        ("paragraph", "Figure 1: The caption"),
        ("heading", "Last chapter"),
        ("paragraph", "Closing words."),
        ("comment", "Rev Iewer: Please check"),
        ("heading", "Chapter that ends with a table"),
        ("table", "| k | v |\n| - | - |"),
        ("header", "ACME confidential header"),
        ("footer", "Page footer words"),
    ]
    assert [block.level for block in document.blocks if block.kind == "list_item"] == [1, 1, 2, 1, 1]


def test_a_workbook_is_a_table_per_region_as_its_cells_are_shown() -> None:
    document = parse("workbook.xlsx")
    assert seen(document) == [
        ("heading", "Sales 2024"),
        ("paragraph", "Quarterly report"),
        (
            "table",
            "| Region | Q1 | Q2 | Share |\n| - | - | - | - |\n| North | 1200.5 € | 1300 | 45.6% |\n"
            "| South | 900 | 1000 | 54.4% |",
        ),
        (
            "table",
            "| Dates | 2024-03-05 | 2024-03-05 14:30 | 09:15 |\n| - | - | - | - |\n| Line one line \\| two | TRUE |  |  |\n"
            "| id | 007 | 12345678901 | 0.3 |",
        ),
        ("heading", "Sparse"),
        ("paragraph", "far"),
        ("paragraph", "corner value"),
        ("heading", "Merged"),
        ("table", "| Group | 2023 H1 | 2023 H2 |\n| - | - | - |\n| x | 1 | 2 |\n| x | 3 | 4 |"),
        ("heading", "Two tables"),
        ("table", "| a | b |\n| - | - |\n| 1 | 2 |"),
        ("table", "| c | d |\n| - | - |\n| 3 | 4 |"),
        ("heading", "HidCol"),
        ("table", "| seen | hiddencol |\n| - | - |\n| hiddenrow |  |"),
    ]
    assert document.warnings == ("Hidden sheets were left out: Secret.",)
    assert [(page.number, page.label) for page in document.pages][:3] == [
        (1, "Sales 2024"),
        (3, "Empty"),
        (4, "Sparse"),
    ]
    assert next(block.page for block in document.blocks if document.text[block.start :].startswith("Merged")) == 5


def test_formulas_show_their_saved_values_and_charts_their_numbers() -> None:
    assert seen(parse("formulas.xlsx")) == [
        ("heading", "Data"),
        (
            "table",
            "| Item | Net | Gross |\n| - | - | - |\n| Pen | 10 | 11.9 |\n| Ink | 20 | 23.8 |\n|  |  | done |\n"
            "|  |  | #DIV/0! |\n| Our site |  |  |\n| rich bold text |  |  |\n| 2023-12-31 |  |  |\n| 27:30 |  |  |\n"
            "| 1e-07 | 123456789.123 | 3 |\n| 25% |  |  |",
        ),
        ("table", "|  | Net |\n| - | - |\n| Pen | 10 |\n| Ink | 20 |"),
        ("paragraph", "Text in a box"),
        ("comment", "A2: A note"),
    ]


def test_a_presentation_is_read_slide_by_slide_in_reading_order_with_its_notes() -> None:
    document = parse("deck.pptx")
    assert seen(document) == [
        ("heading", "Welcome"),
        ("list_item", "- Point one"),
        ("list_item", "- Sub point"),
        ("list_item", "- Point two"),
        ("note", "Speaker says hello"),
        ("heading", "Boxes"),
        ("paragraph", "Top left (added second)"),
        ("paragraph", "Bottom right (added first)"),
        ("paragraph", "In a group"),
        ("paragraph", "In a nested group"),
        ("heading", "Table"),
        (
            "table",
            "| r0c0 r0c1 | r0c0 r0c1 | r0c2 |\n| - | - | - |\n| r1c0 | r1c1 | a\\|b next |\n| r2c0 | r2c1 | r2c2 |",
        ),
        ("heading", "Chart"),
        ("paragraph", "Money by region"),
        ("table", "|  | Sales | Costs |\n| - | - | - |\n| East | 1.5 | 1 |\n| West | 2.5 | 2 |"),
        ("heading", "Hidden slide"),
        ("paragraph", "No title here"),
        ("paragraph", "Shape text"),
        ("figure", "Alt text of shape"),
    ]
    assert path_of(document, "No title here") == ()
    assert [page.kind.value for page in document.pages] == ["slide"] * 6


def test_an_open_document_is_read_as_its_twin_of_the_other_office() -> None:
    """LibreOffice made these of the files above; what it changed or dropped on the way is no part of the comparison."""
    document, twin = parse("handbook.odt"), parse("handbook.docx")
    lost = {"nested", "Page", "Formula", "alpha"}  # list levels, a field, a formula
    ours = [one for one in seen(document) if not any(word in one[1] for word in lost)]
    assert ours == [one for one in seen(twin) if not any(word in one[1] for word in lost)]
    assert ("list_item", "1. alpha") in seen(document)
    assert (document.title, document.authors) == ("Handbook", ("Ann Roe", "Bo Li"))


def test_rich_text_is_read_as_its_twin() -> None:
    document, twin = parse("handbook.rtf"), parse("handbook.docx")
    lost = {"nested", "Page", "Formula", "Wide head", "Words in a box"}  # a table's merged cells are one there
    ours = [one for one in seen(document) if not any(word in one[1] for word in lost)]
    assert ours == [one for one in seen(twin) if not any(word in one[1] for word in lost)]
    assert "| Tall | x | y |\n| n | in1, in2; in3, in4 | last second para |" in document.text
    assert (document.title, document.authors) == ("Handbook", ("Ann Roe", "Bo Li"))


def test_an_open_workbook_and_presentation_keep_sheets_and_slides() -> None:
    book = parse("workbook.ods")
    assert book.warnings == ("Hidden sheets were left out: Secret.",)
    assert [text for kind, text in seen(book) if kind == "heading"] == [
        "Sales 2024",
        "Sparse",
        "Merged",
        "Two tables",
        "HidCol",
    ]
    assert ("table", "| Group | 2023 H1 | 2023 H2 |\n| - | - | - |\n| x | 1 | 2 |\n| x | 3 | 4 |") in seen(book)
    assert "| North | 1200.5 | 1300 | 45.6% |" in book.text
    deck, twin = parse("deck.odp"), parse("deck.pptx")
    assert [page.number for page in deck.pages] == [1, 2, 3, 4, 5, 6]
    assert ("note", "Speaker says hello") in seen(deck)
    tables = [text for kind, text in seen(deck) if kind == "table"]
    assert tables == [text for kind, text in seen(twin) if kind == "table"]


def test_a_book_is_its_spine_with_the_headings_of_its_table_of_contents() -> None:
    document = parse("handbook.epub")
    assert (document.title, document.authors) == ("Handbook", ("Ann Roe", "Bo Li"))
    assert [text for kind, text in seen(document) if kind == "heading"] == [
        "Section 1",
        "First chapter",
        "Last chapter",
        "Chapter that ends with a table",
    ]
    assert document.text.count("First chapter") == 1
    assert path_of(document, "Closing words.") == ("Last chapter",)


def test_a_pdf_keeps_turned_text_notes_and_fields_and_leaves_only_scans_to_recognition() -> None:
    document = parse("mixed.pdf")
    assert document.authors == ()  # "anonymous" is what the program writes that made it
    assert [(block.page, *one) for block, one in zip(document.blocks, seen(document), strict=True)] == [
        (
            1,
            "paragraph",
            "This is a paragraph with hyphenation at line ends and a wellknown compound. The efficient office flows.",
        ),
        (1, "paragraph", "مدرسة كبيرة في المدينة الجميلة"),
        (1, "paragraph", "שלום עולם זה מסמך"),
        (1, "paragraph", "Jane Q. Public"),
        (1, "paragraph", "Blue"),
        (1, "paragraph", "I agree: yes"),
        (1, "comment", "A sticky note comment"),
        (2, "paragraph", "Rotated words on the page"),
        (3, "paragraph", "A page that is turned by its rotation"),
        (5, "paragraph", "The last page has a text layer again, below is a picture."),
    ]
    assert [page.number for page in document.pages] == [1, 2, 3, 4, 5]


def test_a_locked_pdf_is_read_and_drawn_with_its_password_only() -> None:
    assert parse("locked.pdf", "wrong", "käse").title == "Report 2024"
    path = FOLDER / "locked.pdf"

    async def draw(*passwords: str) -> bytes:
        async with SandboxedParser() as renderer:
            return await renderer.render_page(path, page=2, width=200, passwords=passwords, limits=ParseLimits())

    assert asyncio.run(draw("wrong", "käse")).startswith(b"\x89PNG")
    with pytest.raises(ParseFailed) as caught:
        asyncio.run(draw("wrong"))
    assert caught.value.reason == "encrypted"


def test_an_old_presentation_has_its_slides_with_their_titles_and_notes() -> None:
    document = parse("deck.ppt")
    assert [text for kind, text in seen(document) if kind == "heading"] == [
        "Welcome",
        "Boxes",
        "Table",
        "Chart",
        "Hidden slide",
    ]
    assert ("note", "Speaker says hello") in seen(document)
    assert path_of(document, "No title here") == ()
    assert [page.number for page in document.pages] == [1, 2, 3, 4, 5, 6]
    assert (document.title, document.authors) == ("Deck", ("Ann Roe",))
