"""What ingestion may do to the library. The stores themselves are private to it; this list is their open side."""

from ragecho.library.store_chunks import (
    delete_chunks,
    finish_version,
    insert_chunks,
    lock_index,
    store_parsed,
)
from ragecho.library.store_documents import (
    find_same_content,
    forget_parsed,
    get_document,
    get_version,
    insert_document,
    insert_version,
    latest_version,
    list_documents,
    load_parsed,
    lock_content,
    next_version_number,
    replace_grants,
    set_progress,
    set_status,
)

__all__ = [
    "delete_chunks",
    "find_same_content",
    "finish_version",
    "forget_parsed",
    "get_document",
    "get_version",
    "insert_chunks",
    "insert_document",
    "insert_version",
    "latest_version",
    "list_documents",
    "load_parsed",
    "lock_content",
    "lock_index",
    "next_version_number",
    "replace_grants",
    "set_progress",
    "set_status",
    "store_parsed",
]
