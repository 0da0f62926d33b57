"""Words without I/O: ids, caller, errors, documents, passages, citations."""
