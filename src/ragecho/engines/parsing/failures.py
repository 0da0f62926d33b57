"""Why a document could not be read: stable words, and what to tell the person who sent it."""

from types import MappingProxyType

from ragecho.kernel.errors import ParseFailed

MESSAGES = MappingProxyType(
    {
        "encrypted": "The file is protected by a password, and none that fits was given. Upload it with its password, or save a copy without one.",
        "unsupported_type": "Files of this type ({found}) cannot be read. Convert the file to PDF, DOCX, HTML or text.",
        "empty": "The file holds no text at all. Check that the right file was uploaded.",
        "damaged": "The file is damaged and no text could be recovered. Open it in its program, save it again and retry.",
        "no_text": "The file holds only pictures of text, such as a scan, and no text could be recognised in them. Scan it again, sharper and upright.",
        "ocr_off": "The file holds only pictures of text, such as a scan, and text recognition is switched off (RAGECHO_OCR). Switch it on, or run recognition on the file and upload that.",
        "ocr_missing": "The file holds only pictures of text, such as a scan, and no text recognition is installed. {help}",
        "picture_too_large": "The picture is {width} by {height} pixels, more than can be read. Save it smaller; 300 dots per inch are enough.",
        "entities": "The file's XML declares entities of its own, which are never resolved. Save it without a document type declaration.",
        "unsafe_archive": "The archive holds a symbolic link or a name that leads out of it. Pack the files themselves, with plain names.",
        "archive_ratio": "A file in the archive unpacks to more than {limit} times its packed size. Upload that file itself.",
        "archive_too_large": "The archive unpacks to more than {limit} MiB. Split it into smaller ones.",
        "too_many_members": "The archive holds more than {limit} files. Split it into smaller ones.",
        "too_deep": "Archives lie within each other more than {limit} deep. Unpack the inner ones first.",
        "too_many_pages": "The file has {pages} pages; at most {limit} are read. Split it into smaller files.",
        "no_page": "The document has no page {page}; it has {pages}.",
        "too_long": "The file holds more than {limit} characters of text. Split it into smaller files.",
        "timeout": "Reading the file took longer than {limit} seconds. Split it or save it in a simpler format.",
        "memory_limit": "Reading the file needs more memory than is allowed. Split it or save it in a simpler format.",
        "cpu_limit": "Reading the file takes too much computing time. Split it or save it in a simpler format.",
        "output_limit": "The file unpacks to far more data than is allowed. Split it into smaller files.",
        "crashed": "The file made the reader stop unexpectedly. Save it again or in another format and retry.",
    }
)


def failure(reason: str, **facts: object) -> ParseFailed:
    """Return the error for `reason`, a key of `MESSAGES`; `facts` fill its message."""
    return ParseFailed(reason, MESSAGES[reason].format(**facts), **facts)
