"""Documents that are ZIP archives of XML parts (Office Open XML, ECMA-376; OpenDocument; EPUB): their parts and relations."""

import io
import posixpath
import zipfile
from datetime import datetime
from typing import IO
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from ragecho.engines.parsing.build import DocumentBuilder
from ragecho.engines.parsing.detect import decode
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.markup import parse_xml
from ragecho.kernel.errors import ParseFailed

_MOST_PART_BYTES = 64 * 1024**2
_MOST_PARTS = 20_000
_MOST_ENTITY_BYTES = 1 << 16
_RELATIONS = (
    "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}",
    "{http://purl.oclc.org/ooxml/officeDocument/relationships}",  # "strict" documents
)


class Package:
    """The parts of a document; one that is missing, huge or broken is as if it were empty. Raises `ParseFailed` "damaged"."""

    def __init__(self, data: bytes) -> None:
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise failure("damaged") from error
        self.names = self._archive.namelist()[:_MOST_PARTS]
        self._known = set(self.names)
        self._relations: dict[str, list[tuple[str, str, str]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def raw(self, name: str, most: int = _MOST_PART_BYTES) -> bytes | None:
        """Return the bytes of a part."""
        try:
            if self._archive.getinfo(name).file_size > most:
                return None
            return self._archive.read(name)
        except (KeyError, zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError):
            return None
        except Exception:  # noqa: BLE001 (zlib.error, lzma.LZMAError: what damage leads to)
            return None

    def part(self, name: str) -> ET.Element | None:
        """Return the root of an XML part: names of elements and attributes without namespaces, but ids of relations "r:id"."""
        data = self.raw(name)
        if data is None:
            return None
        try:
            root = parse_xml(decode(data)[0])
        except ParseFailed:
            return None
        for element in root.iter():
            attributes = element.attrib
            if any(key[0] == "{" for key in attributes):
                element.attrib = {_local(key): value for key, value in attributes.items()}
        return root

    def stream(self, name: str) -> IO[bytes] | None:
        """Return an open part for what is too large to be a tree."""
        try:
            return self._archive.open(name)
        except (KeyError, zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
            return None

    def related(self, name: str) -> list[tuple[str, str, str]]:
        """Return id, kind (the last word of its type) and part name of what a part refers to within the file."""
        if name not in self._relations:
            self._relations[name] = self._read_relations(name)
        return self._relations[name]

    def _read_relations(self, name: str) -> list[tuple[str, str, str]]:
        folder, file = posixpath.split(name)
        relations = self.part(posixpath.join(folder, "_rels", f"{file}.rels"))
        found = []
        for one in relations if relations is not None else ():
            if one.get("TargetMode") != "External":
                path = resolved(name, one.get("Target", ""))
                found.append((one.get("Id", ""), one.get("Type", "").rpartition("/")[2], path))
        return found

    def target(self, name: str, relation: str) -> str:
        """Return the part that relation `relation` of part `name` leads to, "" for none."""
        return next((path for key, _, path in self.related(name) if key == relation), "")

    def main_part(self, usual: str) -> str:
        """Return the name of the part that the document begins with."""
        found = next((path for _, kind, path in self.related("") if kind == "officeDocument"), usual)
        return found if found in self else usual


def _local(name: str) -> str:
    if name.startswith(_RELATIONS):
        return "r:" + name.partition("}")[2]
    return name.rpartition("}")[2]


def resolved(base: str, target: str) -> str:
    """Return the part that a relative reference within part `base` means."""
    target = unquote(target.partition("#")[0])
    return target[1:] if target.startswith("/") else posixpath.normpath(posixpath.join(posixpath.dirname(base), target))


def declares_entities(data: bytes) -> bool:
    """Tell whether an XML part of a ZIP-based document declares entities."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist()[:_MOST_PARTS]:
                if entry.filename.endswith((".xml", ".rels", ".opf", ".xhtml", ".ncx")):
                    with archive.open(entry) as part:
                        if b"<!ENTITY" in part.read(_MOST_ENTITY_BYTES):
                            return True
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
        return False
    return False


def main_of(package: Package, data: bytes, usual: str) -> tuple[str, ET.Element]:
    """Return name and root of the part that the document begins with. Raises `ParseFailed` "entities" or "damaged"."""
    name = package.main_part(usual)
    root = package.part(name)
    if root is None or declares_entities(data):
        raise failure("entities" if declares_entities(data) else "damaged")
    return name, root


def describe(builder: DocumentBuilder, package: Package) -> None:
    """Take title, authors and date of an Office Open XML document."""
    core = next((path for _, kind, path in package.related("") if kind == "core-properties"), "docProps/core.xml")
    known = package.part(core)
    if known is None:
        return
    builder.describe(
        title=known.findtext("title"),
        authors=[name.strip() for name in (known.findtext("creator") or "").split(";")],
        created=time_of(known.findtext("created")),
    )


def time_of(text: str | None) -> datetime | None:
    """Return a time in ISO 8601; None for anything else."""
    try:
        return datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None


def words_of(element: ET.Element | None) -> str:
    """Return an element's text on one line."""
    return " ".join("".join(element.itertext()).split()) if element is not None else ""
