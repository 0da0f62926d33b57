"""Documents, versions, chunks and the search over them."""
