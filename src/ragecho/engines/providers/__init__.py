"""Embedding and reranking by other people's machines, over HTTP. Off unless named in a setting."""
