"""Passwords: the first one given that opens a file."""

import io
import re
from collections.abc import Sequence
from typing import Any

from ragecho.engines.parsing.failures import failure

_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD


def open_pdf(data: bytes, passwords: Sequence[str]) -> tuple[Any, str | None] | None:
    """Return PDFium's document and the password that opened it (None when it needs none); None for a damaged file.

    Raises `ParseFailed` "encrypted" when no password fits.
    """
    import pypdfium2

    for password in (None, *passwords):
        try:
            return pypdfium2.PdfDocument(data, password=password), password
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) != _PASSWORD_ERROR and "password" not in str(error).lower():
                return None
        except ValueError:  # a password that the library's text encoding cannot hold
            continue
    raise failure("encrypted")


def unlocked_office(data: bytes, passwords: Sequence[str]) -> bytes:
    """Return an Office file (old or new format) without its protection. Raises `ParseFailed` "encrypted" or "damaged"."""
    import msoffcrypto
    from msoffcrypto.exceptions import DecryptionError, FileFormatError, InvalidKeyError

    # Every workbook that is only protected against changes opens with this one, as in Excel itself.
    for password in (*passwords, "VelvetSweatshop"):
        try:
            file = msoffcrypto.OfficeFile(io.BytesIO(data))
            file.load_key(password=password)
            out = io.BytesIO()
            file.decrypt(out)
        except (InvalidKeyError, DecryptionError):
            continue
        except (FileFormatError, OSError, ValueError, KeyError, IndexError) as error:
            raise failure("damaged") from error
        except Exception:  # noqa: BLE001, S112 (what a wrong password leads to differs with the format)
            continue
        if re.match(rb"PK\x03\x04|\xd0\xcf\x11\xe0", out.getvalue()):
            return out.getvalue()
    raise failure("encrypted")
