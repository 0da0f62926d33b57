"""Plain text, and text that is code."""

import re
from pathlib import PurePosixPath

from ragecho.engines.parsing.build import DocumentBuilder
from ragecho.kernel.parsed import BlockKind

_CODE_EXTENSIONS = frozenset(
    [
        ".py",
        ".js",
        ".ts",
        ".jsx",
        ".tsx",
        ".java",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".hpp",
        ".cs",
        ".go",
        ".rs",
        ".rb",
        ".php",
        ".swift",
        ".kt",
        ".scala",
        ".sh",
        ".bash",
        ".ps1",
        ".sql",
        ".r",
        ".pl",
        ".lua",
        ".json",
        ".jsonl",
        ".yaml",
        ".yml",
        ".toml",
        ".ini",
        ".cfg",
        ".conf",
        ".css",
        ".scss",
        ".xml",
        ".proto",
        ".tf",
        ".ipynb",
        ".vue",
        ".dart",
        ".hs",
        ".ex",
        ".clj",
    ]
)
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*?(?=[ \t]*\S)")
_INDENTED = re.compile(r"(?: {4}|\t)")


def read_plain(builder: DocumentBuilder, text: str, filename: str) -> None:
    """Add a block per paragraph, where blank lines part them; indented ones, and all of a program's, are code."""
    is_code = PurePosixPath(filename.lower()).suffix in _CODE_EXTENSIONS
    for paragraph in _BLANK_LINES.split(text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = [line for line in paragraph.split("\n") if line.strip()]
        if not lines:
            continue
        looks_like_code = is_code or all(_INDENTED.match(line) for line in lines)
        builder.add(BlockKind.CODE if looks_like_code else BlockKind.PARAGRAPH, "\n".join(map(str.rstrip, lines)))
