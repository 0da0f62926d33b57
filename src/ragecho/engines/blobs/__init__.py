"""Where original bytes are kept."""

from ragecho.engines.blobs.files import FileBlobStore
from ragecho.engines.blobs.memory import MemoryBlobStore

__all__ = ["FileBlobStore", "MemoryBlobStore"]
