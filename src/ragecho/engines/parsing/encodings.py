"""Which encoding a text without any mark is in, where the statistics of `charset_normalizer` cannot tell.

European languages written in one-byte encodings look alike byte by byte; their alphabets tell them apart.
"""

import re

_ALPHABETS = {  # what is not ASCII in them; the likeliest encoding first, where two fit as well the first counts
    "cp1252": (
        "àâæçéèêëîïôœùûüÿ", "äöüß", "áéíñóúüºª", "áâãàçéêíóôõúü", "àèéìíòóùî", "éëïóöüè", "æøåéòô", "åäöéü", "áéíóúýþæöð",
        "àçèéíïòóúü",
    ),
    "cp1250": ("áčďéěíňóřšťúůýž", "ąćęłńóśźż", "áéíóöőúüű", "ăâîşţ", "čćđšž", "áäčďéíĺľňóôŕšťúýž"),
    "cp1254": ("çğıöşüâîûİ",),
    "cp1257": ("ąčęėįšųūž", "āčēģīķļņšūž", "äöõüšž"),
    "iso8859_2": ("áčďéěíňóřšťúůýž", "ąćęłńóśźż", "áéíóöőúüű"),
    "mac_roman": ("àâæçéèêëîïôœùûüÿ", "äöüß", "áéíñóúü", "áâãàçéêíóôõú"),
    "cp850": ("àâæçéèêëîïôùûüÿ", "äöüß", "áéíñóúü"),
}  # fmt: skip
_PUNCTUATION = frozenset(
    "\u2018\u2019\u201a\u201c\u201d\u201e\u2013\u2014\u2026\u2022\u20ac«»¿¡°§©®™·×±µ¹²³½¼¾‹›…† \u00a0\n\r\t"
)
_LATIN = re.compile(r"(?:cp|windows_?)(?:125[0247]|437|850|852|858|775|500|037|1026|1140|273)$|(?:iso8859|latin|mac)_")
_NOT_LATIN = re.compile(r"iso8859_(?:5|6|7|8|11)$|mac_(?:cyrillic|greek)$")
_EAST_ASIAN = re.compile(r"gb|big5|hz|euc|cp9(?:32|36|49|50)|shift|johab|iso2022")
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_LEAST_KANA = 0.2  # of a Japanese text's characters


def better_guess(data: bytes, guessed: str) -> str:
    """Return the encoding of `data`, which statistics took for `guessed`."""
    if _EAST_ASIAN.match(guessed):
        return next((one for one in ("euc_jp", "cp932") if _is_japanese(data, one)), guessed)
    if not _LATIN.match(guessed) or _NOT_LATIN.match(guessed):
        return guessed
    scores = {encoding: _fit(data, encoding) for encoding in _ALPHABETS}
    best = max(scores, key=lambda encoding: scores[encoding])  # the first of equals
    return best if scores[best] > 0 else guessed


def _fit(data: bytes, encoding: str) -> float:
    """Return how well the letters of a text fit one alphabet, 0 to 1."""
    characters = [one for one in data.decode(encoding, "replace") if one > "\x7f"]
    letters = [one for one in characters if one not in _PUNCTUATION]
    if not letters:
        return 1.0 if characters else 0.0
    return max(sum(one.lower() in alphabet for one in letters) for alphabet in _ALPHABETS[encoding]) / len(letters)


def _is_japanese(data: bytes, encoding: str) -> bool:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if error.start < len(data) - 4:  # cut within a character
            return False
        text = data[: error.start].decode(encoding)
    wide = sum(one > "\x7f" for one in text)
    return wide > 0 and len(_KANA.findall(text)) > _LEAST_KANA * wide
