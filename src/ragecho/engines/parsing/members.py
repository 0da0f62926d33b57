"""Files within files: the members of a ZIP archive and the attachments of e-mail, each handed out within limits."""

import io
import re
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ragecho.engines.parsing.failures import failure
from ragecho.ports.parser import ParseLimits

_ENCRYPTED_FLAG = 0x1
_RATIO_FROM_BYTES = 1 << 20
_UTF8_FLAG = 0x800
_LONGEST_PATH = 1000
# What a name must look like to be taken as written in an encoding.
_NAME_ENCODINGS = (
    ("utf-8", re.compile(r"[^\x80-\x9f]+")),
    ("cp932", re.compile(r"(?=.*(?:[\u3041-\u3096\u30a1-\u30fc]{2}|[\u4e00-\u9fff]{3}))[\x00-\x7f\u3000-\u30ff\u4e00-\u9fff\uff00-\uff60]+")),
    ("gb2312", re.compile(r"(?=.*[\u4e00-\u9fff]{2})[\x00-\x7f\u3000-\u303f\u4e00-\u9fff\uff00-\uff60]+")),
    ("cp866", re.compile(r"(?=.*[\u0401\u0451\u0410-\u044f]{3})[\x00-\x7f\u0401\u0451\u0410-\u044f\u2116]+")),
)  # fmt: skip
# Written by file managers beside the files that people put in.
_CLUTTER = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True, slots=True)
class Member:
    """A file within a file; `number` counts all entries from 0, so that it can be found again."""

    number: int
    name: str
    data: bytes


class Allowance:
    """What the members of one document, however deep, may cost together."""

    def __init__(self, limits: ParseLimits) -> None:
        self.limits = limits
        self._members = 0
        self._bytes = 0

    def take(self, size: int) -> None:
        """Count a member of `size` bytes. Raises `ParseFailed` "too_many_members" or "archive_too_large"."""
        self._members += 1
        self._bytes += size
        if self._members > self.limits.members:
            raise failure("too_many_members", limit=self.limits.members)
        if self._bytes > self.limits.unpacked_bytes:
            raise failure("archive_too_large", limit=self.limits.unpacked_bytes // 1024**2)


def zip_members(data: bytes, passwords: Sequence[str], allowance: Allowance) -> Iterator[Member]:
    """Yield the files of an archive in its order.

    Raises `ParseFailed`: "unsafe_archive" for symbolic links and names that lead out of it, checked before anything
    is read; "archive_ratio", "too_many_members", "archive_too_large", "encrypted", "damaged".
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise failure("damaged") from error
    entries = archive.infolist()
    for entry in entries:
        _refuse_unsafe(entry)
    for number, entry in enumerate(entries):
        if entry.is_dir() or entry.filename.startswith(_CLUTTER[0]) or entry.filename.endswith(_CLUTTER[1:]):
            continue
        yield Member(number, name_of(entry), _unpacked(archive, entry, passwords, allowance))


def zip_member(data: bytes, number: int, passwords: Sequence[str], limits: ParseLimits) -> Member:
    """Return one file of an archive by its number; raises as `zip_members`."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entry = archive.infolist()[number]
        _refuse_unsafe(entry)
        return Member(number, name_of(entry), _unpacked(archive, entry, passwords, Allowance(limits)))


def name_of(entry: zipfile.ZipInfo) -> str:
    """Return a member's name: in UTF-8 where it says so or can only be that, else in what people still pack with.

    The format knows two encodings (APPNOTE.TXT, appendix D); programs in East Asia and Russia write their own.
    """
    if entry.flag_bits & _UTF8_FLAG or entry.filename.isascii():
        return entry.filename
    try:
        raw = entry.filename.encode("cp437")
    except UnicodeEncodeError:
        return entry.filename
    for encoding, written in _NAME_ENCODINGS:
        try:
            name = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if written.fullmatch(name):
            return name
    return entry.filename


def _refuse_unsafe(entry: zipfile.ZipInfo) -> None:
    mode = entry.external_attr >> 16
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    is_windows_drive = len(entry.filename) > 1 and entry.filename[1] == ":"
    if (
        (stat.S_IFMT(mode) and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)))
        or path.is_absolute()
        or ".." in path.parts
        or is_windows_drive
        or len(entry.filename) > _LONGEST_PATH
    ):
        raise failure("unsafe_archive")


def _unpacked(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, passwords: Sequence[str], allowance: Allowance
) -> bytes:
    limits = allowance.limits
    if entry.file_size > max(_RATIO_FROM_BYTES, limits.archive_ratio * max(1, entry.compress_size)):
        raise failure("archive_ratio", limit=limits.archive_ratio)
    allowance.take(entry.file_size)  # before a byte of it is unpacked; `zipfile` reads no more than it says
    tries: list[bytes | None] = [None]
    if entry.flag_bits & _ENCRYPTED_FLAG:
        tries = [password.encode() for password in passwords]
    for password in tries:
        try:
            return archive.read(entry, password)
        except NotImplementedError as error:
            raise failure("unsupported_type", found="ZIP with an unusual compression or encryption") from error
        except (RuntimeError, zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
            if password is None:
                raise failure("damaged") from error
        except Exception as error:  # zlib.error, lzma.LZMAError: what the wrong password or damage leads to
            if password is None:
                raise failure("damaged") from error
    raise failure("encrypted")
