"""LaTeX: sections, lists, tables and captions as structure, formulas as they are written, commands gone (pylatexenc)."""

import re
from collections.abc import Sequence
from typing import Any

from ragecho.engines.parsing.build import DocumentBuilder, table_text
from ragecho.engines.parsing.latex_macros import expanded
from ragecho.kernel.parsed import BlockKind

_LEVELS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5}
_LISTS = {"itemize": False, "enumerate": True, "description": False}
_FORMULAS = re.compile(r"(?:equation|align|gather|multline|eqnarray|displaymath|math|flalign|alignat)\*?$")
_TABLES = frozenset({"tabular", "tabular*", "tabularx", "longtable", "array", "tabulary"})
_VERBATIM = frozenset({"verbatim", "verbatim*", "lstlisting", "minted", "alltt"})
_QUOTES = frozenset({"quote", "quotation", "verse"})
_REFERENCES = re.compile(r"(?:[cC]ite[a-zA-Z]*|auto|page|eq|[cCvV])?ref|[cC]ite[a-zA-Z]*|label")
_COLUMN_MACROS = frozenset(
    {"hline", "toprule", "midrule", "bottomrule", "cline", "cmidrule", "endhead", "endfirsthead"}
)
_COMMENTED = re.compile(r"\\begin\{comment\}.*?\\end\{comment\}|\\iffalse\b.*?\\fi\b", re.S)
_LAST_SHOWN = frozenset({"multicolumn", "multirow", "href", "textcolor", "colorbox"})  # of their arguments the last is
_MOST_COLUMNS = 100
_ARGUMENTS = {  # of macros that the library does not know
    "href": "{{",
    "caption": "*[{",
    "captionof": "{[{",
    "subcaption": "*[{",
    "multicolumn": "{{{",
    "multirow": "{{{",
    "textcolor": "{{",
    "colorbox": "{{",
    "cref": "*{",
    "Cref": "*{",
    "autoref": "*{",
    "input": "{",
    "include": "{",
    "subfile": "{",
    "bibliography": "{",
    "hspace": "*{",
    "vspace": "*{",
    "keywords": "{",
}
_DROPPED = frozenset(
    {
        "input",
        "include",
        "subfile",
        "bibliography",
        "usepackage",
        "hspace",
        "vspace",
        "label",
        "centering",
        "maketitle",
        "tableofcontents",
        "bibliographystyle",
        "includegraphics",
    }
)


def read_latex(builder: DocumentBuilder, text: str) -> None:
    """Add the blocks of a LaTeX source; a fragment without a preamble will do."""
    text = _COMMENTED.sub("", expanded(text))
    reader = _Reader(builder)
    preamble, begin, body = text.partition("\\begin{document}")
    if begin:
        reader.describe(_nodes(preamble))
        text = body.partition("\\end{document}")[0]
    nodes = _nodes(text)
    reader.describe(nodes)
    reader.walk(nodes)
    reader.flush()


def _nodes(text: str) -> Any:
    from pylatexenc.latexwalker import LatexWalker, get_default_latex_context_db
    from pylatexenc.macrospec import MacroSpec

    context = get_default_latex_context_db()
    macros = [MacroSpec(name, args_parser=arguments) for name, arguments in _ARGUMENTS.items()]
    context.add_context_category("ours", macros=macros, prepend=True)
    return LatexWalker(text, latex_context=context, tolerant_parsing=True).get_latex_nodes()[0]


class _Reader:
    def __init__(self, builder: DocumentBuilder) -> None:
        from pylatexenc.latex2text import LatexNodes2Text, get_default_latex_context_db

        context = get_default_latex_context_db()
        self._builder = builder
        self._text = LatexNodes2Text(latex_context=context, math_mode="verbatim", keep_comments=False)
        self._run: list[Any] = []
        self._kind = BlockKind.PARAGRAPH
        self._footnotes: list[str] = []

    def describe(self, nodes: Sequence[Any]) -> None:
        """Take title and authors."""
        for node in nodes:
            name = getattr(node, "macroname", None)
            if name == "title" and (title := self._argument(node)):
                self._builder.describe(title=title)
                self._builder.add(BlockKind.HEADING, title, level=1)
            elif name == "author":
                people = [name for one in self._people(node) if (name := " ".join(one.split()))]
                self._builder.describe(authors=people)
                self._builder.add(BlockKind.META, ", ".join(people))

    def _people(self, node: Any) -> list[str]:
        """Return the names that `and`, line breaks or commas part."""
        arguments = [one for one in (node.nodeargd.argnlist if node.nodeargd else ()) if one is not None]
        names: list[list[Any]] = [[]]
        for part in getattr(arguments[-1], "nodelist", arguments) if arguments else ():
            macro = getattr(part, "macroname", None)
            if macro in ("and", "\\", "And", "AND"):
                names.append([])
            elif macro not in ("thanks", "inst", "footnote", "footnotemark"):
                names[-1].append(part)
        return [name for one in names for name in self._plain(one).split(",")]

    def walk(self, nodes: Sequence[Any]) -> None:
        """Add the blocks of nodes in order; running text is collected until something ends it."""
        for node in nodes:
            if node is None:
                continue
            kind = type(node).__name__
            if kind == "LatexEnvironmentNode":
                self.flush()
                self._environment(node)
            elif kind == "LatexMathNode" and node.displaytype == "display":
                self.flush()
                self._builder.add(BlockKind.FORMULA, node.latex_verbatim())
            elif kind == "LatexSpecialsNode" and node.specials_chars == "\n\n":
                self.flush()
            elif kind == "LatexCharsNode" and re.search(r"\n[ \t]*\n", node.chars):
                self._chars(node)
            elif kind == "LatexMacroNode":
                self._macro(node)
            elif kind != "LatexCommentNode":
                self._run.append(node)

    def flush(self) -> None:
        """End the running text."""
        run, self._run = self._run, []
        text = self._plain(run)
        for paragraph in re.split(r"\n[ \t]*\n", text):
            self._builder.add(self._kind, " ".join(paragraph.split()))
        notes, self._footnotes = self._footnotes, []
        for note in notes:
            self._builder.add(BlockKind.FOOTNOTE, note)

    def _chars(self, node: Any) -> None:
        self._run.append(node)  # `flush` parts it at its blank lines

    def _macro(self, node: Any) -> None:
        name = node.macroname.rstrip("*")
        if name in _LEVELS:
            self.flush()
            self._builder.add(BlockKind.HEADING, self._argument(node), level=_LEVELS[name])
        elif name in ("caption", "captionof", "subcaption"):
            self.flush()
            self._builder.add(BlockKind.FIGURE, self._argument(node))
        elif name == "footnote":
            self._footnotes.append(self._argument(node))
        elif name == "par":
            self.flush()
        elif name not in _DROPPED and name not in ("title", "author"):
            self._run.append(node)

    def _environment(self, node: Any) -> None:
        name = node.environmentname
        if _FORMULAS.match(name):
            self._builder.add(BlockKind.FORMULA, node.latex_verbatim())
        elif name in _TABLES:
            self._builder.add(BlockKind.TABLE, table_text(self._rows(node.nodelist)))
        elif name in _VERBATIM:
            body = re.sub(r"^\\begin\{[^}]*\}(?:\[[^\]]*\]|\{[^}]*\})*\n?|\\end\{[^}]*\}$", "", node.latex_verbatim())
            self._builder.add(BlockKind.CODE, body)
        elif name in _LISTS:
            self._list(node, is_ordered=_LISTS[name])
        elif name == "thebibliography":
            self._builder.add(BlockKind.HEADING, "References", level=2)
            self._items(node.nodelist, "bibitem", lambda _: "- ")
        else:
            if name == "abstract":
                self._builder.add(BlockKind.HEADING, "Abstract", level=2)
            outer, self._kind = self._kind, BlockKind.QUOTE if name in _QUOTES else self._kind
            self.walk(node.nodelist)
            self.flush()
            self._kind = outer

    def _list(self, node: Any, *, is_ordered: bool) -> None:
        self._items(node.nodelist, "item", lambda number: f"{number}. " if is_ordered else "- ")

    def _items(self, nodes: Sequence[Any], macro: str, marker: Any) -> None:
        items: list[list[Any]] = []
        for node in nodes:
            if getattr(node, "macroname", None) == macro:
                items.append([node] if macro == "item" and _has_option(node) else [])
            elif items:
                items[-1].append(node)
        for number, item in enumerate(items, 1):
            inner = [one for one in item if getattr(one, "environmentname", None) in _LISTS]
            text = " ".join(self._plain([one for one in item if one not in inner]).split())
            self._builder.add(BlockKind.LIST_ITEM, marker(number) + text, level=1)
            for one in inner:
                self._environment(one)

    def _rows(self, nodes: Sequence[Any]) -> list[list[str]]:
        rows: list[list[list[Any]]] = [[[]]]
        for node in nodes:
            if getattr(node, "macroname", None) == "\\":
                rows.append([[]])
            elif getattr(node, "specials_chars", None) == "&":
                rows[-1].append([])
            elif getattr(node, "macroname", None) == "multicolumn":
                arguments = node.nodeargd.argnlist if node.nodeargd else ()
                count = self._plain(arguments[:1]).strip() if arguments else ""
                rows[-1][-1].append(node)
                rows[-1].extend([node] for _ in range(min(_MOST_COLUMNS, int(count)) - 1 if count.isdecimal() else 0))
            elif getattr(node, "macroname", None) not in _COLUMN_MACROS:
                rows[-1][-1].append(node)
        return [[" ".join(self._plain(cell).split()) for cell in row] for row in rows]

    def _argument(self, node: Any) -> str:
        arguments = [one for one in (node.nodeargd.argnlist if node.nodeargd else ()) if one is not None]
        return " ".join(self._plain([arguments[-1]]).split()) if arguments else ""

    def _converted(self, node: Any) -> str:
        try:
            return str(self._text.nodelist_to_text([node]))
        except (IndexError, AttributeError, TypeError, ValueError):  # the library expects arguments that are not there
            return re.sub(r"\\[A-Za-z]+\*?|[{}]", "", node.latex_verbatim())

    def _plain(self, nodes: Sequence[Any]) -> str:
        """Return nodes as text; what refers to something shows its key in brackets."""
        parts = []
        for node in nodes:
            name = getattr(node, "macroname", None) or ""
            if _REFERENCES.fullmatch(name):
                keys = [one for one in (node.nodeargd.argnlist if node.nodeargd else ()) if one is not None]
                if name != "label" and keys:
                    parts.append(f"[{keys[-1].latex_verbatim().strip('{}')}]")
            elif name in _LAST_SHOWN:
                parts.append(self._argument(node))
            elif name in _DROPPED:
                continue
            elif type(node).__name__ == "LatexGroupNode":
                parts.append(self._plain(node.nodelist))
            elif node is not None:
                parts.append(self._converted(node))
        return "".join(parts)


def _has_option(node: Any) -> bool:
    return bool(node.nodeargd and any(node.nodeargd.argnlist or ()))
