"""Folder names in IMAP's modified UTF-7 (RFC 3501, section 5.1.3)."""

import base64


def encode_folder(name: str) -> str:
    """Return a folder's name as a quoted string of the protocol."""
    pieces: list[str] = []
    wide = ""
    for character in name:
        if " " <= character <= "~":
            pieces.append(_encoded(wide))
            wide = ""
            pieces.append("&-" if character == "&" else character)
        else:
            wide += character
    pieces.append(_encoded(wide))
    text = "".join(pieces).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _encoded(wide: str) -> str:
    if not wide:
        return ""
    return "&" + base64.b64encode(wide.encode("utf-16-be")).decode("ascii").rstrip("=").replace("/", ",") + "-"
