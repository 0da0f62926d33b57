"""Programming and configuration languages, by the extension of a file's name."""

from types import MappingProxyType

LANGUAGES = MappingProxyType(
    {
        ".py": "python",
        ".pyi": "python",
        ".js": "javascript",
        ".mjs": "javascript",
        ".ts": "typescript",
        ".jsx": "javascript",
        ".tsx": "typescript",
        ".java": "java",
        ".c": "c",
        ".h": "c",
        ".cc": "cpp",
        ".cpp": "cpp",
        ".hpp": "cpp",
        ".cxx": "cpp",
        ".cs": "csharp",
        ".go": "go",
        ".rs": "rust",
        ".rb": "ruby",
        ".php": "php",
        ".swift": "swift",
        ".kt": "kotlin",
        ".scala": "scala",
        ".sh": "shell",
        ".bash": "shell",
        ".zsh": "shell",
        ".ps1": "powershell",
        ".sql": "sql",
        ".r": "r",
        ".pl": "perl",
        ".lua": "lua",
        ".yaml": "yaml",
        ".yml": "yaml",
        ".toml": "toml",
        ".ini": "ini",
        ".cfg": "ini",
        ".conf": "ini",
        ".css": "css",
        ".scss": "scss",
        ".proto": "protobuf",
        ".tf": "terraform",
        ".vue": "vue",
        ".dart": "dart",
        ".hs": "haskell",
        ".ex": "elixir",
        ".exs": "elixir",
        ".erl": "erlang",
        ".clj": "clojure",
        ".m": "objective-c",
        ".mm": "objective-c",
        ".f90": "fortran",
        ".jl": "julia",
        ".zig": "zig",
        ".nim": "nim",
        ".groovy": "groovy",
        ".gradle": "groovy",
        ".asm": "assembly",
        ".s": "assembly",
        ".vb": "visual-basic",
        ".pas": "pascal",
        ".ml": "ocaml",
        ".fs": "fsharp",
        ".svelte": "svelte",
        ".graphql": "graphql",
        ".cmake": "cmake",
        ".diff": "diff",
        ".patch": "diff",
    }
)
_PREFIX = "text/x-"


def code_type(language: str) -> str:
    """Return the content type that stands for source code in `language`."""
    return f"{_PREFIX}{language}"


def is_code(content_type: str) -> bool:
    """Tell whether a content type is one of `code_type`."""
    return content_type.startswith(_PREFIX)
