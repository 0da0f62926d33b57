"""XML, LaTeX, subtitles, JSON, source code, archives and e-mail to blocks."""

import io
import stat
import struct
import zipfile
import zlib
from email.message import EmailMessage

import pytest

from ragecho.engines.ocr.settings import OcrMode, OcrSettings
from ragecho.engines.parsing.bidi import in_reading_order
from ragecho.engines.parsing.compressed_rtf import uncompressed
from ragecho.engines.parsing.formats import parse_bytes
from ragecho.engines.parsing.pdf import plain
from ragecho.engines.parsing.rtf import unpacked_html
from ragecho.kernel.errors import ParseFailed
from ragecho.kernel.parsed import ParsedDocument, from_json, to_json
from ragecho.ports.parser import ParseLimits

LIMITS = ParseLimits()


def parse(text: str | bytes, name: str, limits: ParseLimits = LIMITS, *passwords: str) -> ParsedDocument:
    return parse_bytes(text.encode() if isinstance(text, str) else text, name, limits, passwords)


def seen(document: ParsedDocument) -> list[tuple[str, str]]:
    return [(block.kind.value, document.text[block.start : block.end]) for block in document.blocks]


def reason(data: str | bytes, name: str, limits: ParseLimits = LIMITS, *passwords: str) -> str:
    with pytest.raises(ParseFailed) as caught:
        parse(data, name, limits, *passwords)
    return caught.value.reason


JATS = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE article PUBLIC "-//NLM//DTD JATS 1.2//EN" "JATS-archivearticle1.dtd">
<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><journal-meta><journal-id>x</journal-id></journal-meta>
<article-meta><title-group><article-title>On <italic>mice</italic></article-title></title-group>
<contrib-group><contrib contrib-type="author"><name><surname>Roe</surname><given-names>Ann</given-names></name></contrib>
<contrib contrib-type="editor"><name><surname>Not</surname></name></contrib></contrib-group>
<pub-date><day>3</day><month>2</month><year>2021</year></pub-date>
<abstract><p>Mice&nbsp;are small.</p></abstract></article-meta></front>
<body><sec><title>Methods</title><p>We counted <xref>1</xref>.<table-wrap><label>Table 1.</label><caption><p>Mice.</p></caption>
<table><thead><tr><th>Where</th><th>Mice</th></tr></thead><tbody><tr><td>Barn</td><td>3</td></tr></tbody></table></table-wrap></p>
<sec><title>Deeper</title><p>More.</p></sec></sec></body>
<back><ref-list><title>References</title><ref><element-citation><person-group><name><surname>Doe</surname>
<given-names>J</given-names></name></person-group><article-title>Rats</article-title><year>1999</year><fpage>1</fpage>
<lpage>9</lpage></element-citation></ref></ref-list></back></article>"""


def test_a_jats_article_has_title_authors_sections_tables_and_references() -> None:
    document = parse(JATS, "a.xml")
    assert document.title == "On mice"
    assert document.authors == ("Ann Roe",)
    assert document.created is not None
    assert document.created.isoformat() == "2021-02-03T00:00:00+00:00"
    assert seen(document) == [
        ("heading", "On mice"),
        ("meta", "Ann Roe"),
        ("heading", "Abstract"),
        ("paragraph", "Mice are small."),
        ("heading", "Methods"),
        ("paragraph", "We counted 1."),
        ("figure", "Table 1. Mice."),
        ("table", "| Where | Mice |\n| - | - |\n| Barn | 3 |"),
        ("heading", "Deeper"),
        ("paragraph", "More."),
        ("heading", "References"),
        ("list_item", "- Doe J. Rats. 1999. 1–9"),
    ]
    assert document.blocks[9].heading_path == ("On mice", "Methods", "Deeper")


def test_any_other_xml_is_read_by_what_its_elements_hold() -> None:
    text = (
        "<shop xmlns='urn:x'><title>Seeds</title><open>yes</open><city>Ulm</city><note>Ring <b>twice</b>.</note>"
        "<items><item><id>1</id><name>Pea</name></item><item><id>2</id><name>Bean</name></item></items></shop>"
    )
    document = parse(text, "shop.xml")
    assert document.title == "Seeds"
    assert seen(document) == [
        ("heading", "Seeds"),
        ("paragraph", "open: yes\ncity: Ulm"),
        ("paragraph", "Ring twice."),
        ("table", "| id | name |\n| - | - |\n| 1 | Pea |\n| 2 | Bean |"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>', "entities"),
        ('<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><r>&b;</r>', "entities"),
        ('<!DOCTYPE r [<!ENTITY % p SYSTEM "http://example.org/x.dtd"> %p;]><r>x</r>', "entities"),
        ("<?xml version='1.0'?><r><a>x</r>", "damaged"),
        ("<?xml version='1.0'?><r><a/></r>", "empty"),
        ("<svg xmlns='http://www.w3.org/2000/svg'><image href='https://example.com/i.png'/></svg>", "empty"),
    ],
)
def test_xml_that_declares_entities_or_is_broken_is_refused(text: str, expected: str) -> None:
    assert reason(text, "x.xml") == expected
    assert reason(text.encode("utf-16"), "x.xml") == expected


def test_the_text_of_a_drawing_is_read() -> None:
    text = "<svg xmlns='http://www.w3.org/2000/svg'><title>Plan</title><g><text>Door <tspan>A</tspan></text></g></svg>"
    assert seen(parse(text, "x.svg")) == [("paragraph", "Plan"), ("paragraph", "Door A")]


def test_latex_keeps_structure_and_formulas_and_loses_commands() -> None:
    text = r"""\documentclass{article} \title{On \emph{Mice}} \author{Ann Roe \and Bo Li}
\begin{document} \maketitle
\section{First} Some \textbf{bold} text\footnote{A note.} with $x^2$ and \cite{doe99}. % a comment

New paragraph.
\begin{itemize} \item One \item Two \end{itemize}
\[ a = b \]
\begin{tabular}{ll} \hline A & B \\ 1 & 2 \\ \end{tabular}
\begin{verbatim}
\raw{code}
\end{verbatim}
\end{document} ignored"""
    document = parse(text, "a.tex")
    assert document.title == "On Mice"
    assert document.authors == ("Ann Roe", "Bo Li")
    assert seen(document)[2:] == [
        ("heading", "First"),
        ("paragraph", "Some bold text with $x^2$ and [doe99]."),
        ("paragraph", "New paragraph."),
        ("footnote", "A note."),
        ("list_item", "- One"),
        ("list_item", "- Two"),
        ("formula", r"\[ a = b \]"),
        ("table", "| A | B |\n| - | - |\n| 1 | 2 |"),
        ("code", r"\raw{code}"),
    ]


VTT = """WEBVTT

intro
00:01.000 --> 00:03.000
<v Ann>We are in</v>

00:03.000 --> 00:05.500 align:left
<v Ann>New York &amp; happy.

01:02:05.000 --> 01:02:07.000
<v Bo><i>Good.</i>
"""
SRT = """1
00:00:01,000 --> 00:00:03,000
We are in

2
00:00:03,000 --> 00:00:05,500
{\\an8}New York.
"""


def test_subtitles_are_paragraphs_with_their_time_and_speaker() -> None:
    document = parse(VTT, "a.vtt")
    assert seen(document) == [("paragraph", "Ann: We are in New York & happy."), ("paragraph", "Bo: Good.")]
    assert [page.label for page in document.pages] == ["00:01–00:05", "1:02:05–1:02:07"]
    other = parse(SRT, "a.srt")
    assert other.text == "We are in New York."
    assert other.pages[0].label == "00:01–00:05"


def test_json_is_lines_of_names_and_tables_of_records() -> None:
    text = '{"title":"Seeds","shop":{"city":"Ulm","open":true,"tags":["a","b"]},"items":[{"id":1,"n":"Pea"},{"id":2}]}'
    document = parse(text, "a.json")
    assert document.title == "Seeds"
    assert document.text == (
        "title: Seeds\nshop › city: Ulm\nshop › open: true\nshop › tags: a, b\n\nitems\n\n"
        "| id | n |\n| - | - |\n| 1 | Pea |\n| 2 |  |"
    )
    lines = parse('{"a":1,"b":{"c":"x"}}\nnot json\n{"a":2,"b":{"c":"y"}}\n', "a.jsonl")
    assert seen(lines) == [("paragraph", "a: 1\nb › c: x"), ("paragraph", "a: 2\nb › c: y")]
    assert lines.warnings == ("1 lines are not JSON and were left out.",)
    assert reason("{nothing}", "a.json") == "damaged"
    assert reason("[" * 100_000, "a.json") == "damaged"


def test_long_tables_keep_their_header_near_every_row() -> None:
    rows = ",".join(f'{{"a":{number},"b":"x"}}' for number in range(450))
    tables = [text for kind, text in seen(parse(f"[{rows}]", "a.json")) if kind == "table"]
    assert [text.count("\n") - 1 for text in tables] == [200, 200, 50]
    assert all(text.startswith("| a | b |") for text in tables)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("deep.xml", b"<?xml version='1.0'?>" + b"<a>" * 200_000 + b"x" + b"</a>" * 200_000),
        ("deep.json", b'{"a":' * 5000 + b"1" + b"}" * 5000),
    ],
)
def test_what_nests_too_deeply_is_refused(name: str, data: bytes) -> None:
    assert reason(data, name) == "damaged"


def test_a_notebook_is_its_cells() -> None:
    text = (
        '{"nbformat":4,"cells":[{"cell_type":"markdown","source":["# Title\\n","Words."]},'
        '{"cell_type":"code","source":"x = 1","outputs":[{"output_type":"stream","text":["1\\n"]}]}]}'
    )
    assert seen(parse(text, "a.ipynb")) == [
        ("heading", "Title"),
        ("paragraph", "Words."),
        ("code", "x = 1"),
        ("code", "1"),
    ]


def test_a_program_is_kept_verbatim() -> None:
    text = "import os\n\n\ndef one():\n    a = 1\n\n    return a\n\n\nclass Two:\n\n    x = '<b>'\n"
    document = parse(text, "a.py")
    assert document.content_type == "text/x-python"
    assert seen(document) == [
        ("code", "import os"),
        ("code", "def one():\n    a = 1\n\n    return a"),
        ("code", "class Two:\n\n    x = '<b>'"),
    ]
    assert parse("a\tb\n1\t2\n", "a.tsv").text.startswith("| a | b |")


def packed(*members: tuple[str | zipfile.ZipInfo, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def test_an_archive_is_one_document_with_a_heading_per_member() -> None:
    inner = packed(("deep.txt", "Deep words."))
    document = parse(
        packed(
            ("docs/a.md", "# Alpha\n\nFirst."),
            ("__MACOSX/._a.md", "x"),
            ("b.vtt", VTT),
            ("broken.bin", bytes(range(256)) * 20),
            ("in.zip", inner),
            ("c.txt", "Last."),
        ),
        "all.zip",
    )
    assert [(kind, text) for kind, text in seen(document) if kind == "heading"] == [
        ("heading", "docs/a.md"),
        ("heading", "Alpha"),
        ("heading", "b.vtt"),
        ("heading", "broken.bin"),
        ("heading", "in.zip"),
        ("heading", "deep.txt"),
        ("heading", "c.txt"),
    ]
    paths = {document.text[block.start : block.end]: block.heading_path for block in document.blocks}
    assert paths["First."] == ("docs/a.md", "Alpha")
    assert paths["Deep words."] == ("in.zip", "deep.txt")
    assert [(page.number, page.label) for page in document.pages] == [
        (1, "b.vtt 00:01–00:05"),
        (2, "b.vtt 1:02:05–1:02:07"),
    ]
    assert next(block.page for block in document.blocks if document.text[block.start :].startswith("Last.")) is None
    assert len(document.warnings) == 1
    assert document.warnings[0].startswith("broken.bin: Files of this type")


def link() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("link")
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def test_archives_that_are_unsafe_or_too_much_are_refused() -> None:
    few = ParseLimits(members=2, unpacked_bytes=5000, archive_depth=2)
    nested = b"x"
    for _ in range(3):
        nested = packed(("a.zip" if nested != b"x" else "a.txt", nested))
    assert reason(packed(("a.txt", "x"), (link(), "/etc/passwd")), "a.zip") == "unsafe_archive"
    assert reason(packed(("../a.txt", "x")), "a.zip") == "unsafe_archive"
    assert reason(packed(("/etc/a.txt", "x")), "a.zip") == "unsafe_archive"
    assert reason(packed(("C:\\a.txt", "x")), "a.zip") == "unsafe_archive"
    assert reason(packed(("a.txt", "1"), ("b.txt", "2"), ("c.txt", "3")), "a.zip", few) == "too_many_members"
    assert reason(packed(("a.txt", "12 " * 2000)), "a.zip", few) == "archive_too_large"
    assert reason(packed(("a.txt", bytes(3_000_000))), "a.zip") == "archive_ratio"
    assert reason(nested, "a.zip", few) == "too_deep"
    assert reason(packed(("a.txt", "")), "a.zip") == "empty"


def test_a_member_with_a_password_is_read_with_it_only() -> None:
    data = zip_encrypted("a.txt", b"Secret words.", b"sesame")
    assert parse(data, "a.zip", LIMITS, "wrong", "sesame").text == "a.txt\n\nSecret words."
    assert reason(data, "a.zip", LIMITS, "wrong") == "encrypted"
    assert reason(data, "a.zip") == "encrypted"


def zip_encrypted(name: str, data: bytes, password: bytes) -> bytes:
    """Return an archive with one stored member under the classic encryption (APPNOTE.TXT, 6.1)."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = ~zlib.crc32(bytes([byte]), ~keys[0] & 0xFFFFFFFF) & 0xFFFFFFFF
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = ~zlib.crc32(bytes([keys[1] >> 24]), ~keys[2] & 0xFFFFFFFF) & 0xFFFFFFFF

    def encrypted(byte: int) -> int:
        mask = (keys[2] | 2) & 0xFFFF
        update(byte)
        return byte ^ (((mask * (mask ^ 1)) >> 8) & 0xFF)

    for byte in password:
        update(byte)
    check = zlib.crc32(data)
    body = bytes(encrypted(byte) for byte in [*bytes(11), check >> 24, *data])
    fields = struct.pack("<HHHHHIIIHH", 20, 1, 0, 0, 33, check, len(body), len(data), len(name), 0)
    local = b"PK\x03\x04" + fields + name.encode() + body
    central = b"PK\x01\x02\x14\x00" + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name.encode()
    return local + central + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def message(*, html: bool = False) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Ann Roe <ann@example.org>"
    mail["To"] = "bo@example.org"
    mail["Subject"] = "The größte plan"
    mail["Date"] = "Mon, 02 Mar 2026 10:00:00 +0100"
    mail.set_content("Hello Bo,\n\nsee the list.")
    if html:
        mail.add_alternative("<p>Hello <b>Bo</b></p>", subtype="html")
    mail.add_attachment(b"a,b\n1,2\n", maintype="text", subtype="csv", filename="list.csv")
    return mail


def test_mail_has_its_headers_text_and_attachments() -> None:
    outer = message(html=True)
    outer.add_attachment(message())
    document = parse(outer.as_bytes(), "m.eml")
    assert document.title == "The größte plan"
    assert document.authors == ("Ann Roe",)
    assert document.created is not None
    assert document.created.isoformat() == "2026-03-02T10:00:00+01:00"
    assert [text for kind, text in seen(document) if kind == "heading"] == [
        "The größte plan",
        "list.csv",
        "The größte plan.eml",
        "The größte plan",
        "list.csv",
    ]
    assert seen(document)[1][1].startswith("From: Ann Roe <ann@example.org>\nTo: bo@example.org")
    assert document.text.count("| 1 | 2 |") == 2


def test_drawn_arabic_and_hebrew_are_turned_round_and_read_ones_are_not() -> None:
    arabic = "مدرسة كبيرة في المدينة"
    hebrew = "שלום עולם (12) ילדים"
    for text in (arabic, hebrew):
        assert in_reading_order(text) == text
        drawn = "".join(reversed(text)).replace("21", "12").translate(str.maketrans("()", ")("))
        assert in_reading_order(drawn) == text
    assert in_reading_order("Latin only") == "Latin only"


def test_what_a_file_says_of_itself_survives_storage() -> None:
    document = parse(message().as_bytes(), "m.eml")
    assert from_json(document.text, to_json(document)) == document


def test_the_languages_of_scans_are_a_list_of_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGECHO_OCR_LANGUAGES", "rus, eng+chi_sim")
    monkeypatch.setenv("RAGECHO_OCR", "off")
    settings = OcrSettings(_env_file=None)
    assert settings.ocr_languages == ("rus", "eng", "chi_sim")
    assert settings.ocr is OcrMode.OFF
    monkeypatch.setenv("RAGECHO_OCR_LANGUAGES", "../eng")
    with pytest.raises(ValueError, match="languages are codes"):
        OcrSettings(_env_file=None)


# The examples of [MS-OXRTFCP], 4.1 and 4.2.
COMPRESSED = bytes.fromhex(
    "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
)
REPEATED = bytes.fromhex("1a0000001c0000004c5a4675e2d44b5141000420575859 5a0d6e7d010eb0".replace(" ", ""))


def test_compressed_rtf_of_outlook_is_expanded() -> None:
    assert uncompressed(COMPRESSED) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    assert uncompressed(REPEATED) == b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"
    assert uncompressed(COMPRESSED[:30]).startswith(b"{\\rtf1\\ansi")
    assert uncompressed(b"short") == b""
    assert uncompressed(b"\x10\x00\x00\x00\xff\xff\xff\xffLZFu" + bytes(4)) == b""


def test_a_web_page_within_rtf_is_unpacked() -> None:
    rtf = (
        rb"{\rtf1\ansi\ansicpg1252\fromhtml1 \deff0{\fonttbl{\f0 Arial;}}{\*\htmltag19 <html>}{\*\htmltag50 <body>}"
        rb"\htmlrtf {\htmlrtf0 {\*\htmltag64 <p>}Gr\'fc\'dfe \u8364?5 & \htmlrtf\par\htmlrtf0 mehr{\*\htmltag72 </p>}"
        rb"\htmlrtf }\htmlrtf0 {\*\htmltag27 </html>}}"
    )
    assert unpacked_html(rtf) == "<html><body><p>Grüße €5 & mehr</p></html>"
    assert unpacked_html(rb"{\rtf1\ansi plain}") is None


def test_rtf_keeps_headings_lists_tables_notes_and_every_script() -> None:
    rtf = (
        rb"{\rtf1\ansi\ansicpg1251{\fonttbl{\f0\fcharset204 Arial;}{\f1\fcharset128 Mincho;}}"
        rb"{\stylesheet{\s1 heading 1;}{\s0 Normal;}}{\info{\title A report}{\author Ann Roe; Bo}{\creatim\yr2024\mo3\dy5}}"
        rb"{\header Top words\par}\pard\s1 First\par\pard\f0 \'cf\'f0\'e8\'e2\'e5\'f2\f1 \'93\'fa\f0  \u20320\'3f "
        rb"\u-10179?\u-8704?{\deleted gone}{\v secret}{\footnote A note.} end\par"
        rb"{\listtext\'b7\tab}\pard item\par{\pntext 1.\tab}first\par"
        rb"\trowd\clmgf\cellx1\clmrg\cellx2\intbl a\cell\cell\row\trowd\cellx1\cellx2\pard\intbl b|c\cell d\par e\cell\row"
        rb"\pard{\*\unknown left out}{\pict ffff}last}"
    )
    document = parse(rtf, "a.rtf")
    assert (document.title, document.authors) == ("A report", ("Ann Roe", "Bo"))
    assert document.created is not None
    assert document.created.isoformat() == "2024-03-05T00:00:00+00:00"
    assert seen(document) == [
        ("heading", "First"),
        ("paragraph", "Привет日 你 😀 end"),
        ("footnote", "A note."),
        ("list_item", "- item"),
        ("list_item", "1. first"),
        ("table", "| a | a |\n| - | - |\n| b\\|c | d e |"),
        ("paragraph", "last"),
        ("header", "Top words"),
    ]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "Größe.txt"),
        ("cp932", "日本語.txt"),
        ("gb2312", "中文文件.txt"),
        ("cp866", "Отчёт 2024.txt"),
        ("cp437", "Größe.txt"),
    ],
)
def test_names_in_archives_are_read_in_the_encoding_they_were_packed_in(encoding: str, name: str) -> None:
    raw = name.encode(encoding)
    data = packed(("x" * len(raw), "Words.")).replace(b"x" * len(raw), raw)
    assert seen(parse(data, "a.zip"))[0] == ("heading", name)


def test_mail_without_a_charset_and_with_broken_lines_is_read() -> None:
    bare = b"Received: from x\nFrom: a@x.org\nSubject: S\n\nDie Gr\xf6\xdfe \xfcbertrifft alles.\n"
    assert parse(bare, "a.eml").text.endswith("Die Größe übertrifft alles.")
    flowed = (
        b"From: a@x.org\nSubject: S\nContent-Type: text/plain; charset=utf-8; format=flowed\n\n"
        b"A long line that goes \non here.\n> quoted\n"
    )
    assert "A long line that goes on here.\n> quoted" in parse(flowed, "a.eml").text


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.csv", "Name;Preis\nMüller;1,50\n".encode("cp1252"), "| Name | Preis |\n| - | - |\n| Müller | 1,50 |"),
        ("a.csv", '\ufeffa,b\n1,"x, y\nz"\n'.encode(), "| a | b |\n| - | - |\n| 1 | x, y z |"),
        ("a.csv", b"a|b\n1|2\n", "| a | b |\n| - | - |\n| 1 | 2 |"),
        ("a.csv", b"a\tb\n1\t2\n", "| a | b |\n| - | - |\n| 1 | 2 |"),
        ("a.csv", b"sep=;\r\na;b\r\n1;2\r\n", "| a | b |\n| - | - |\n| 1 | 2 |"),
        ("a.csv", b'a,b\n"he said ""hi""",2\n', '| a | b |\n| - | - |\n| he said "hi" | 2 |'),
        ("a.csv", b"Sales report\n\nid,n\n1,2\n", "Sales report\n\n| id | n |\n| - | - |\n| 1 | 2 |"),
        (
            "a.csv",
            "名前,住所\n山田太郎,東京都新宿区\n".encode("cp932"),
            "| 名前 | 住所 |\n| - | - |\n| 山田太郎 | 東京都新宿区 |",
        ),
    ],
)
def test_tables_as_text_are_read_with_any_delimiter_and_encoding(name: str, data: bytes, expected: str) -> None:
    assert parse(data, name).text == expected


def test_a_web_page_keeps_its_content_and_knows_its_author() -> None:
    page = """<!doctype html><html><head><meta name="author" content="Ann Roe">
    <meta property="article:published_time" content="2024-03-05T10:00:00Z"></head><body>
    <header><a href="/">Logo</a></header><div class="cookie-banner">We use cookies</div><div role="dialog">Sign up</div>
    <main><h1>Guide</h1><p>Text.<span style="position:absolute;left:-9999px">aside</span></p>
    <p style="color:#fff;background:#fff">white</p><p style="color: transparent">clear</p>
    <math alttext="a/b"><mfrac><mi>a</mi><mi>b</mi></mfrac></math>
    <table><thead><tr><th colspan=2>2023<th rowspan=2>Sum<tr><th>H1<th>H2</thead><tr><td>1<td>2<td>3</table></main></body>"""
    document = parse(page, "a.html")
    assert document.authors == ("Ann Roe",)
    assert document.created is not None
    assert seen(document) == [
        ("heading", "Guide"),
        ("paragraph", "Text."),
        ("paragraph", "$a/b$"),
        ("table", "| 2023 H1 | 2023 H2 | Sum |\n| - | - | - |\n| 1 | 2 | 3 |"),
        ("header", "Logo"),
    ]


def test_latex_puts_in_the_authors_own_macros_and_reads_no_other_file() -> None:
    text = r"""\newcommand{\foo}[1]{FOO(#1)}\newcommand{\R}{\mathbb{R}}\def\me{Ann}\newcommand{\opt}[2][x]{#1-#2}
\begin{document}\section{Intro}\input{/etc/passwd}By \me: \foo{bar}, \opt{b}, \opt[a]{b}, $v \in \R$,
\href{http://x.example}{link text} and \textcolor{red}{red}.
\begin{comment}not this\end{comment}
\begin{table}\caption{Tab}\begin{tabular}{l|c}\multicolumn{2}{c}{Wide}\\ \hline \multirow{2}{*}{m} & n\end{tabular}\end{table}
\end{document}"""
    assert seen(parse(text, "a.tex")) == [
        ("heading", "Intro"),
        ("paragraph", r"By Ann: FOO(bar), x-b, a-b, $v \in \mathbb{R}$, link text and red."),
        ("figure", "Tab"),
        ("table", "| Wide | Wide |\n| - | - |\n| m | n |"),
    ]
    assert parse(r"\def\a{\a\a}\begin{document}x \a\end{document}", "a.tex").text.startswith("x")


def test_front_matter_names_title_author_and_date() -> None:
    document = parse("---\ntitle: 'My Doc'\nauthor: Ann Roe, Bo Li\ndate: 2024-03-05\n---\n# Head\n", "a.md")
    assert (document.title, document.authors) == ("My Doc", ("Ann Roe", "Bo Li"))
    assert document.created is not None
    assert document.created.isoformat() == "2024-03-05T00:00:00+00:00"


def test_comments_of_subtitles_are_not_said_and_bold_words_divided_in_a_pdf_are_whole() -> None:
    document = parse("WEBVTT\n\nNOTE not shown\n\n00:01.000 --> 00:02.000\nHello there.\n", "a.vtt")
    assert document.text == "Hello there."
    assert (
        plain("**disadvantaged popu-** **lation groups** well-**known**")
        == "disadvantaged population groups well-known"
    )
