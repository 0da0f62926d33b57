"""What a file really is, from its bytes; its name decides only between kinds of text."""

import codecs
import io
import re
import zipfile
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from ragecho.engines.parsing.encodings import better_guess
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.languages import LANGUAGES, code_type

PDF = "application/pdf"
PLAIN = "text/plain"
MARKDOWN = "text/markdown"
HTML = "text/html"
CSV = "text/csv"
TSV = "text/tab-separated-values"
RTF = "application/rtf"
EPUB = "application/epub+zip"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ODT = "application/vnd.oasis.opendocument.text"
ODP = "application/vnd.oasis.opendocument.presentation"
ODS = "application/vnd.oasis.opendocument.spreadsheet"
DOC = "application/msword"
XLS = "application/vnd.ms-excel"
PPT = "application/vnd.ms-powerpoint"
EMAIL = "message/rfc822"
OUTLOOK = "application/vnd.ms-outlook"
ZIP = "application/zip"
XML = "application/xml"
SVG = "image/svg+xml"
JSON = "application/json"
JSON_LINES = "application/jsonl"
LATEX = "application/x-tex"
VTT = "text/vtt"
SRT = "application/x-subrip"
PICTURES = frozenset(
    {"image/png", "image/jpeg", "image/tiff", "image/gif", "image/webp", "image/bmp", "image/x-ms-bmp", "image/jp2"}
)
LOCKED_OFFICE = "application/x-ole-encrypted"  # a modern Office file behind a password, whichever it is

_HEAD_BYTES = 64 * 1024
_PDF_BYTES = 1024
_BY_EXTENSION = {
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".mdown": MARKDOWN,
    ".mkd": MARKDOWN,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".csv": CSV,
    ".tsv": TSV,
    ".eml": EMAIL,
    ".json": JSON,
    ".geojson": JSON,
    ".ipynb": JSON,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".tex": LATEX,
    ".latex": LATEX,
    ".ltx": LATEX,
    ".vtt": VTT,
    ".srt": SRT,
    ".xml": XML,
    ".nxml": XML,
    ".jats": XML,
    ".svg": SVG,
    **{extension: code_type(language) for extension, language in LANGUAGES.items()},
}
_OLE = b"\xd0\xcf\x11\xe0"
_OLE_STREAMS = (  # names in the directory of a compound file, as UTF-16
    ("__substg1.0_", OUTLOOK),
    ("WordDocument", DOC),
    ("PowerPoint Document", PPT),
    ("Workbook", XLS),
)
_OFFICE_PARTS = (("word/", DOCX), ("ppt/", PPTX), ("xl/", XLSX))
_OPEN_DOCUMENTS = (EPUB, ODT, ODP, ODS)
_SIGNATURES = (  # for machines without libmagic, and only to name what cannot be read
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"\x1f\x8b", "application/gzip"),
    (b"7z\xbc\xaf", "application/x-7z-compressed"),
    (b"Rar!", "application/vnd.rar"),
    (b"\x7fELF", "application/x-executable"),
    (b"MZ", "application/x-dosexec"),
)
# What `office` reads.
OFFICE = frozenset({DOCX, PPTX, XLSX, ODT, ODP, ODS, EPUB, RTF, *(name for _, name in _OLE_STREAMS)})
OLE = frozenset(name for _, name in _OLE_STREAMS)
_HTML_START = re.compile(
    r"\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)
_XML_START = re.compile(r"\s*<(?:\?xml|!DOCTYPE|svg|[A-Za-z][\w:.-]*\s+xmlns)", re.I)
_MAIL_START = re.compile(
    r"(?:(?:received|return-path|delivered-to|from|message-id|mime-version): .*\n(?:[ \t].*\n)*){2}", re.I
)
_CODE_IN_XML = (code_type("vue"),)
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.I)
_CONTROLS = bytes(set(range(32)) - {7, 8, 9, 10, 12, 13, 27})
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MOST_CONTROLS = 0.002  # of a text's bytes; what is denser in them is no text
_MOST_REPLACED = 0.005  # of a text's characters that may be broken UTF-8


def detect(data: bytes, filename: str) -> str:
    """Return the MIME type of `data`. Raises `ParseFailed` "empty", "encrypted" or "unsupported_type"."""
    if not data.strip(b"\x00 \t\r\n\f\v"):
        raise failure("empty")
    if data.startswith(b"{\\rtf"):
        return RTF
    if data.startswith(b"PK\x03\x04"):
        return _zip_type(data)
    if data.startswith(_OLE):
        return _ole_type(data)
    place = data[:_PDF_BYTES].find(b"%PDF-")  # readers accept rubbish before it; a text may speak of it
    if place >= 0 and (not data[:place].strip(b"\xef\xbb\xbf\x00 \t\r\n") or b"startxref" in data):
        return PDF
    if not looks_like_text(data):
        found = _binary_type(data)
        if found in PICTURES:
            return found
        raise failure("unsupported_type", found=found)
    return _text_type(data, filename)


def looks_like_text(data: bytes) -> bool:
    """Tell whether the bytes are text in some encoding."""
    if data.startswith(tuple(bom for bom, _ in _BOMS)) or _utf16_by_zeros(data):
        return True
    head = data[:_HEAD_BYTES]
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls > max(1, _MOST_CONTROLS * len(head)):
        return False
    if controls == 0 and _is_utf8(head):
        # Nothing to show or to play is UTF-8 from end to end but what is written as text. Libmagic would look at it twice,
        # which is most of what reading a small text costs.
        return True
    return (
        not _binary_type(data).startswith(("image/", "audio/", "video/", "font/"))
        or _XML_START.match(head.decode("utf-8", "replace")) is not None
    )


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # it may end within a character
    except UnicodeDecodeError:
        return False
    return True


def decode(data: bytes, *, is_html: bool = False) -> tuple[str, str | None]:
    """Return the text of `data` and a warning when its encoding had to be guessed."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data.decode(encoding, "replace"), None
    if wide := _utf16_by_zeros(data):
        return data.decode(wide, "replace"), f"The encoding was guessed: {wide}."
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError:
        pass
    declared = _CHARSET.search(data[:4096]) if is_html else None
    if declared and (text := _decoded(data, declared[1].decode("ascii"))) is not None:
        return text, None
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if broken <= max(1, _MOST_REPLACED * len(text)) and any(byte >= 0xC2 for byte in data if byte >= 0x80):  # noqa: PLR2004 (UTF-8 lead bytes)
        has_good = any(ord(char) > 0x7F and char != "\ufffd" for char in text)  # noqa: PLR2004 (ASCII)
        if has_good:
            return text, "Some characters were damaged and have been replaced."
    guessed = _guessed_encoding(data)
    found = _decoded(data, guessed)
    return (found if found is not None else data.decode("cp1252", "replace")), f"The encoding was guessed: {guessed}."


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (LookupError, UnicodeDecodeError):
        return None


def _guessed_encoding(data: bytes) -> str:
    try:
        from charset_normalizer import from_bytes
    except ImportError:  # an optional help of the environment, not a dependency
        return "cp1252"
    best = from_bytes(data[:_HEAD_BYTES]).best()
    return better_guess(
        data[:_HEAD_BYTES], best.encoding if best is not None and best.encoding != "ascii" else "cp1252"
    )


def _utf16_by_zeros(data: bytes) -> str | None:
    """Return the byte order of UTF-16 without a mark: half of the bytes of western text are then zero."""
    head = data[: min(len(data), 4096) & ~1]
    if len(head) < 8:  # noqa: PLR2004 (too short to tell)
        return None
    half = len(head) // 2
    for encoding, high, low in (("utf-16-le", head[1::2], head[0::2]), ("utf-16-be", head[0::2], head[1::2])):
        if high.count(0) > 0.7 * half and low.count(0) < 0.02 * half:
            text = _decoded(head, encoding)
            if text is not None and sum(char.isprintable() or char.isspace() for char in text) > 0.98 * len(text):
                return encoding
    return None


def _zip_type(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            declared = archive.read("mimetype", None)[:100].decode("ascii", "replace") if "mimetype" in names else ""
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, KeyError):
        names, declared = [], ""
    if declared.strip() in _OPEN_DOCUMENTS:
        return declared.strip()
    for folder, office_type in _OFFICE_PARTS:
        if "[Content_Types].xml" in names and any(name.startswith(folder) for name in names):
            return office_type
    if not names:
        raise failure("damaged")
    return ZIP


def _ole_type(data: bytes) -> str:
    if "EncryptedPackage".encode("utf-16-le") in data:
        return LOCKED_OFFICE
    for stream, name in _OLE_STREAMS:
        if stream.encode("utf-16-le") in data:
            return name
    raise failure("unsupported_type", found="application/x-ole-storage")


def is_locked_ole(data: bytes) -> bool:
    """Tell whether an old Office file needs a password to be read."""
    try:
        import msoffcrypto

        return bool(msoffcrypto.OfficeFile(io.BytesIO(data)).is_encrypted())
    except Exception:  # noqa: BLE001 (a file that the library cannot look into goes to its reader, which says why)
        return False


def _text_type(data: bytes, filename: str) -> str:
    text, _ = decode(data[:_HEAD_BYTES], is_html=True)
    if _HTML_START.match(text):
        return HTML
    by_name = _BY_EXTENSION.get(PurePosixPath(filename.lower()).suffix)
    if by_name == HTML and not re.search(r"<[a-z!/]", text, re.I):
        return PLAIN
    if by_name in (None, XML, SVG, *_CODE_IN_XML) and _XML_START.match(text):
        return SVG if re.search(r"<(?:\w+:)?svg\b", text[:4096]) else XML
    if text.startswith("WEBVTT"):
        return VTT
    if by_name is None and _MAIL_START.match(text):
        return EMAIL
    return (by_name if by_name not in (XML, SVG) else None) or PLAIN


def _binary_type(data: bytes) -> str:
    detector = _magic()
    if detector is not None:
        return str(detector.from_buffer(data[:_HEAD_BYTES]))
    return next((name for start, name in _SIGNATURES if data.startswith(start)), "application/octet-stream")


@cache
def _magic() -> Any:
    """Return libmagic's detector, or None where the system library is missing."""
    try:
        import magic
    except ImportError:
        return None
    return magic.Magic(mime=True)


def preload() -> None:
    """Read libmagic's tables, once for all children."""
    _magic()


def has_libmagic() -> bool:
    """Tell whether libmagic is there; without it a small table names the types that cannot be read."""
    return _magic() is not None
