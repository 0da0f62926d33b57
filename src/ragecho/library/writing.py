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
    forget_parsed,
    get_document,
    get_version,
    insert_version,
    latest_version,
    list_documents,
    load_parsed,
    lock_documents,
    next_version_number,
    replace_grants,
    set_progress,
    set_status,
    unreferenced_contents,
)
from ragecho.library.store_embeddings import load_embeddings, purge_embeddings, store_embeddings, touch_embeddings
from ragecho.library.store_fetched import drop_version, fill_version, merge_metadata
from ragecho.library.store_reindexes import note_filled
from ragecho.library.store_spaces import workspace_spaces
from ragecho.library.store_uploads import find_same_contents, insert_documents, lock_contents
from ragecho.library.store_versions import ListedVersion, keep_passwords, list_versions

__all__ = [
    "ListedVersion",
    "begin_versions",
    "delete_chunks",
    "drop_version",
    "fill_version",
    "find_same_contents",
    "finish_versions",
    "forget_parsed",
    "get_document",
    "get_version",
    "insert_documents",
    "insert_version",
    "insert_versions",
    "keep_passwords",
    "latest_version",
    "list_documents",
    "list_versions",
    "load_embeddings",
    "load_parsed",
    "lock_contents",
    "lock_documents",
    "lock_index",
    "merge_metadata",
    "next_version_number",
    "note_filled",
    "purge_embeddings",
    "replace_grants",
    "set_progress",
    "set_status",
    "store_embeddings",
    "store_parsed",
    "touch_embeddings",
    "unreferenced_contents",
    "workspace_spaces",
]
