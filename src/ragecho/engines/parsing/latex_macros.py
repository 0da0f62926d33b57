"""An author's own LaTeX macros, put in by their definitions. Within bounds: what grows too long stays as it is written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_DEFINITION = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand|DeclareRobustCommand)\*?\s*\{?\\([A-Za-z]+)\}?\s*(?:\[(\d)\])?\s*(\[[^\]]*\])?\s*(?=\{)"
    r"|\\DeclareMathOperator\*?\s*\{\\([A-Za-z]+)\}\s*(?=\{)|\\def\s*\\([A-Za-z]+)\s*((?:#\d)*)\s*(?=\{)"
)
_MOST_MACROS = 500
_LONGEST_BODY = 2_000
_MOST_PASSES = 4
_MOST_GROWTH = 4


@dataclass(frozen=True, slots=True)
class _Macro:
    arguments: int
    default: str | None
    body: str


def expanded(text: str) -> str:
    """Return a LaTeX text with its own macros put in, and without their definitions."""
    macros, text = _taken(text)
    if not macros:
        return text
    names = re.compile(r"\\(" + "|".join(sorted(macros, key=len, reverse=True)) + r")(?![A-Za-z])")
    most = max(100_000, _MOST_GROWTH * len(text))
    for _ in range(_MOST_PASSES):
        changed = _pass(text, names, macros)
        if changed == text or len(changed) > most:
            break
        text = changed
    return text


def _taken(text: str) -> tuple[dict[str, _Macro], str]:
    macros: dict[str, _Macro] = {}
    kept: list[str] = []
    place = 0
    while len(macros) < _MOST_MACROS and (found := _DEFINITION.search(text, place)):
        command, count, default, operator, defined, places = found.groups()
        body, end = _group(text, found.end())
        kept.append(text[place : found.start()])
        place = end
        if operator:
            macros[operator] = _Macro(0, None, f"\\operatorname{{{body}}}")
        elif len(body) <= _LONGEST_BODY:
            arguments = int(count or 0) if command else len(places or "") // 2
            macros[command or defined] = _Macro(arguments, default[1:-1] if default else None, body)
    return macros, "".join(kept) + text[place:]


def _pass(text: str, names: re.Pattern[str], macros: dict[str, _Macro]) -> str:
    parts: list[str] = []
    place = 0
    while found := names.search(text, place):
        macro = macros[found[1]]
        parts.append(text[place : found.start()])
        place = found.end()
        arguments = []
        if macro.default is not None:
            given = re.compile(r"\s*\[([^\]]*)\]").match(text, place)
            arguments.append(given[1] if given else macro.default)
            place = given.end() if given else place
        for _ in range(macro.arguments - len(arguments)):
            argument, place = _group(text, place)
            arguments.append(argument)
        body = _filled(macro.body, arguments)
        is_word = text[place : place + 1].isalpha() and body[-1:].isalpha()
        parts.append(body + (" " if is_word and macro.arguments == 0 else ""))
    return "".join(parts) + text[place:]


def _filled(body: str, arguments: Sequence[str]) -> str:
    def argument(found: re.Match[str]) -> str:
        place = int(found[1]) - 1
        return arguments[place] if place < len(arguments) else ""

    return re.sub(r"#([1-9])", argument, body)


def _group(text: str, place: int) -> tuple[str, int]:
    """Return what stands in the braces that open at `place`, or the one character there, and where it ends."""
    while place < len(text) and text[place].isspace():
        place += 1
    if text[place : place + 1] != "{":
        token = re.compile(r"\\[A-Za-z]+|\\?.", re.S).match(text, place)
        return (token[0], token.end()) if token else ("", place)
    depth = 0
    for found in re.compile(r"\\.|[{}]", re.S).finditer(text, place):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return text[place + 1 : found.start()], found.end()
    return text[place + 1 :], len(text)
