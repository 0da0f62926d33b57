"""What ingestion may do to the library. The stores themselves are private to it; this list is their open side."""

from ragecho.library.store_chunks import (
    delete_chunks,
    finish_versions,
    insert_versions,
    lock_index,
    store_parsed,
)
from ragecho.library.store_documents import (
    begin_versions,
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
    lock_documents,
    next_version_number,
    set_progress,
    set_status,
)
from ragecho.library.store_embeddings import load_embeddings, store_embeddings, touch_embeddings

__all__ = [
    "begin_versions",
    "delete_chunks",
    "find_same_content",
    "finish_versions",
    "forget_parsed",
    "get_document",
    "get_version",
    "insert_document",
    "insert_version",
    "insert_versions",
    "latest_version",
    "list_documents",
    "load_embeddings",
    "load_parsed",
    "lock_content",
    "lock_documents",
    "lock_index",
    "next_version_number",
    "set_progress",
    "set_status",
    "store_embeddings",
    "store_parsed",
    "touch_embeddings",
]
