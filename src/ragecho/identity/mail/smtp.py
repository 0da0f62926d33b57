"""Handing mail in by SMTP."""

from email.message import EmailMessage
from typing import Protocol

from ragecho.identity.mail.settings import SmtpServer

TIMEOUT_SECONDS = 20.0
_PERMANENT = range(500, 600)
# What a server says about us or itself rather than about the mail (RFC 4954, 3463): worth another try.
_OURS = frozenset({502, 503, 530, 534, 535, 538})


class NotDelivered(Exception):
    """The mail was not taken. `reason` is a short word for the log; `is_final` when trying again is of no use."""

    def __init__(self, reason: str, *, is_final: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_final = is_final


class Transport(Protocol):
    """Something that takes mail."""

    async def send(self, message: EmailMessage) -> None:
        """Hand one mail in. Raises `NotDelivered`."""
        ...


class SmtpTransport:
    """The configured mail server. Certificates are checked; passwords never go over a line that is not encrypted."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server

    async def send(self, message: EmailMessage) -> None:
        """Hand one mail in. Raises `NotDelivered`."""
        import aiosmtplib

        server = self._server
        try:
            await aiosmtplib.send(
                message,
                hostname=server.host,
                port=server.port,
                username=server.username,
                password=server.password,
                use_tls=server.is_tls,
                start_tls=False if server.is_tls else (True if server.requires_starttls else None),
                timeout=TIMEOUT_SECONDS,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refusal.code for refusal in error.recipients]
            raise _refused(codes[0] if codes else 550) from None
        except aiosmtplib.SMTPResponseException as error:
            raise _refused(error.code) from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            # The name of the failure only: the text may quote the address or the server's words.
            raise NotDelivered(type(error).__name__, is_final=False) from None


def _refused(code: int) -> NotDelivered:
    return NotDelivered(f"smtp_{code}", is_final=code in _PERMANENT and code not in _OURS)
