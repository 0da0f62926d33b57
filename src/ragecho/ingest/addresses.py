"""What a document by URL holds until its page is fetched: its address, as a list of URLs (`text/uri-list`, RFC 2483).

The list is named by the document's id in a comment: no two waiting documents hold the same bytes, and no file that somebody
uploads is taken for one.
"""

from ragecho.kernel.ids import DocumentId

# The job that fetches the page behind a document.
FETCH_JOB = "fetch_url"
URI_LIST = "text/uri-list"
# No list is longer.
MAX_BYTES = 10_000


def uri_list(document_id: DocumentId, address: str) -> bytes:
    """Return the content of a document that waits for its page."""
    return f"# {document_id}\r\n{address}\r\n".encode()


def address_in(document_id: DocumentId, content: bytes) -> str | None:
    """Return the address that the content names for this document; None when it is anything else."""
    first, _, rest = content.partition(b"\r\n")
    if first != f"# {document_id}".encode() or not rest.endswith(b"\r\n"):
        return None
    return rest.removesuffix(b"\r\n").decode("utf-8", "replace")
