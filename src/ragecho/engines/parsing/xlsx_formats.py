"""What a cell of a workbook shows: number formats (ECMA-376 part 1, 18.8.30), as far as they change what is said.

Dates are ISO 8601, percentages are percentages, units stay; grouping and rounding are left out, so that numbers can be found
and added up.
"""

import re
from datetime import datetime, timedelta
from functools import lru_cache
from xml.etree import ElementTree as ET

_BUILTIN = {9: "0%", 10: "0.00%", 14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM"}
_BUILTIN |= {19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd h:mm", 45: "mm:ss", 46: "[h]:mm:ss"}
_BUILTIN |= {47: "mm:ss.0"} | dict.fromkeys((27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58), "yyyy-mm-dd")
_ASIDE = re.compile(r"\"[^\"]*\"|\\.|_.|\*.|\[(?!h+\]|m+\]|s+\])[^\]]*\]", re.I)
_ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]", re.I)
_LITERAL = re.compile(r"\"([^\"]*)\"|\\(.)|\[\$([^\]-]*)(?:-[^\]]*)?\]|([€$£¥₹%‰])")
_DIGITS = re.compile(r"[#0?]")
_LAST_SERIAL = 2_958_466  # 10000-01-01
_MIDNIGHT = 1e-9
_DAY_SECONDS = 86_400


class Formats:
    """The number formats of a workbook, by the style of a cell."""

    def __init__(self, styles: ET.Element | None, *, is_1904: bool) -> None:
        self._epoch = datetime(1904, 1, 1) if is_1904 else datetime(1899, 12, 30)  # noqa: DTZ001 (cells have no time zone)
        self._codes: list[str] = []
        if styles is None:
            return
        own = {one.get("numFmtId", ""): one.get("formatCode", "") for one in styles.iterfind("numFmts/numFmt")}
        for style in styles.iterfind("cellXfs/xf"):
            key = style.get("numFmtId", "0")
            self._codes.append(own.get(key) or _BUILTIN.get(int(key) if key.isdecimal() else 0, ""))

    def shown(self, value: str, style: str | None) -> str:
        """Return a number as the format of style number `style` shows it."""
        index = int(style) if style and style.isdecimal() else 0
        code = self._codes[index] if index < len(self._codes) else ""
        try:
            number = float(value)
        except ValueError:
            return value
        if code and code != "General" and (kind := _kind(code)):
            if kind == "%":
                return f"{plain_number(repr(round(number * 100, 10)))}%"
            if kind in ("date", "time", "both", "elapsed"):
                return self._moment(number, kind) or plain_number(value)
            before, after = _units(code)
            return f"{before}{plain_number(value)}{after}"
        return plain_number(value)

    def _moment(self, number: float, kind: str) -> str | None:
        if not 0 <= number < _LAST_SERIAL:
            return None
        if kind == "elapsed":
            minutes, seconds = divmod(round(number * _DAY_SECONDS), 60)
            return f"{minutes // 60}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")
        # 1900 was no leap year, but Excel believes it was: what lies before March is a day off.
        days = number + 1 if 0 < number < 60 and self._epoch.year == 1899 else number  # noqa: PLR2004 (see above)
        moment = self._epoch + timedelta(seconds=round(days * _DAY_SECONDS))
        clock = f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"
        if kind == "time" or number < 1:
            return clock
        has_time = kind == "both" and abs(number - round(number)) > _MIDNIGHT
        return f"{moment:%Y-%m-%d} {clock}" if has_time else f"{moment:%Y-%m-%d}"


@lru_cache(maxsize=1024)
def _kind(code: str) -> str:
    """Return what a format makes of a number: "date", "time", "both", "elapsed", "%", "number", or "" for nothing."""
    bare = _ASIDE.sub("", code.partition(";")[0]).lower()
    if _ELAPSED.search(bare):
        return "elapsed"
    if "general" in bare or not bare.strip():
        return "number" if _units(code) != ("", "") else ""
    if "%" in bare:
        return "%"
    has_date = re.search(r"[yd]|(?<![hs:])m+(?!:)|mmm", re.sub(r"h+:?m+(?::?s+)?|m+:s+", "", bare)) is not None
    has_time = re.search(r"h|s|m+:s", bare) is not None
    if _DIGITS.search(bare) and not (has_date or has_time):
        return "number" if _units(code) != ("", "") else ""
    if has_date or has_time:
        return "both" if has_date and has_time else "date" if has_date else "time"
    return ""


@lru_cache(maxsize=1024)
def _units(code: str) -> tuple[str, str]:
    """Return what a format writes before and after the digits of a positive number."""
    section = code.partition(";")[0]
    digits = list(_DIGITS.finditer(re.sub(_ASIDE, lambda found: " " * len(found[0]), section)))
    if not digits:
        return "", ""
    parts = section[: digits[0].start()], section[digits[-1].end() :]
    before, after = ("".join("".join(filter(None, one.groups())) for one in _LITERAL.finditer(part)) for part in parts)
    before, after = before.strip(), after.strip()
    return (f"{before} " if before[-1:].isalpha() else before), (f" {after}" if after else "")


def plain_number(value: str) -> str:
    """Return a number as written in the file without the noise of its binary form: 0.30000000000000004 is 0.3."""
    try:
        number = float(value)
    except ValueError:
        return value
    if number.is_integer() and abs(number) < 1e15:  # noqa: PLR2004 (what a float holds exactly)
        return str(int(number))
    return f"{number:.15g}"
