"""The compressed RTF of Outlook messages ([MS-OXRTFCP])."""

import struct

_PRELOADED = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor MS Sans Serif"
    b"SymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
_WINDOW = 4096
_HEADER_BYTES = 16
_MOST_BYTES = 64 * 1024**2


def uncompressed(data: bytes) -> bytes:
    """Return the RTF in a body; b"" for one that is damaged or too large."""
    if len(data) < _HEADER_BYTES:
        return b""
    _, raw_size, kind, _ = struct.unpack_from("<III4s", data)
    if kind == int.from_bytes(b"MELA", "little"):
        return data[_HEADER_BYTES : _HEADER_BYTES + raw_size]
    if kind != int.from_bytes(b"LZFu", "little") or raw_size > _MOST_BYTES:
        return b""
    return _expanded(data, raw_size)


def _expanded(data: bytes, size: int) -> bytes:
    window = bytearray(_WINDOW)
    window[: len(_PRELOADED)] = _PRELOADED
    place = len(_PRELOADED)
    out = bytearray()
    at = _HEADER_BYTES
    while at < len(data) and len(out) < size:
        control = data[at]
        at += 1
        for bit in range(8):
            if control & (1 << bit):
                if at + 1 >= len(data):
                    return bytes(out[:size])
                token = data[at] << 8 | data[at + 1]
                at += 2
                offset, length = token >> 4, (token & 0xF) + 2
                if offset == place % _WINDOW:
                    return bytes(out[:size])
                for step in range(length):
                    byte = window[(offset + step) % _WINDOW]
                    window[place % _WINDOW] = byte
                    place += 1
                    out.append(byte)
            else:
                if at >= len(data):
                    return bytes(out[:size])
                window[place % _WINDOW] = data[at]
                place += 1
                out.append(data[at])
                at += 1
    return bytes(out[:size])
