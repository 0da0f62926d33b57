"""Other stacks behind FastAPI, as their guides show them: `python peer_servers.py NAME FOLDER PORT` in the peers' environment.

FOLDER holds documents.jsonl (id, text), vectors.npy, questions.jsonl, question_vectors.npy and model.json. `embedding` in
model.json says how a question gets its vector: `given` looks it up, `onnx` runs the file that Echo runs, `torch` runs the same
model by sentence-transformers, which is what the embedding classes of all these stacks call.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

NAME, FOLDER, PORT = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
BATCH = 500


def lines(name: str) -> list[dict[str, Any]]:
    """Return the objects of a file with one on each line."""
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


DOCUMENTS = lines("documents.jsonl")
IDS, TEXTS = [one["id"] for one in DOCUMENTS], [one["text"] for one in DOCUMENTS]
VECTORS = np.load(FOLDER / "vectors.npy")
MODEL = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))
KNOWN = {
    one["text"]: row
    for one, row in zip(lines("questions.jsonl"), np.load(FOLDER / "question_vectors.npy"), strict=True)
}
BY_TEXT = dict(zip(TEXTS, VECTORS, strict=True))


class Onnx:
    """The model that Echo runs, on one thread per call as there."""

    def __init__(self) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(MODEL["onnx"], options, providers=["CPUExecutionProvider"])
        self._names = {one.name for one in self._session.get_inputs()}
        self._tokenizer = Tokenizer.from_file(MODEL["tokenizer"])
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MODEL["max_tokens"])

    def __call__(self, question: str) -> np.ndarray:
        """Return the question's unit vector."""
        found = self._tokenizer.encode(MODEL["prefix"] + question)
        fed = {
            "input_ids": np.array([found.ids], np.int64),
            "attention_mask": np.array([found.attention_mask], np.int64),
            "token_type_ids": np.zeros((1, len(found.ids)), np.int64),
        }
        states = self._session.run(None, {name: rows for name, rows in fed.items() if name in self._names})[0][0]
        pooled = states[0] if MODEL["pooling"] == "cls" else states.mean(axis=0)
        return pooled / np.linalg.norm(pooled)


class Torch:
    """The model by sentence-transformers, with its own defaults."""

    def __init__(self) -> None:
        from importlib.util import find_spec

        from sentence_transformers import SentenceTransformer

        package = find_spec(MODEL["package"])
        assert package is not None
        assert package.origin is not None
        self._model = SentenceTransformer(str(Path(package.origin).parent / "model"), device="cpu")

    def __call__(self, question: str) -> np.ndarray:
        """Return the question's unit vector."""
        return self._model.encode(MODEL["prefix"] + question)


def embedding() -> Callable[[str], np.ndarray]:
    """Return what embeds a question."""
    match MODEL["embedding"]:
        case "given":
            return KNOWN.__getitem__
        case "onnx":
            return Onnx()
        case _:
            return Torch()


embed = embedding()


def chroma_collection() -> Any:
    """Return a Chroma client on disk and its collection."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(str(FOLDER / NAME), Settings(anonymized_telemetry=False))
    return client, client.get_or_create_collection("documents", metadata={"hnsw:space": "cosine"})


def langchain() -> Any:
    """Return the search of LangChain over Chroma."""
    from langchain_chroma import Chroma
    from langchain_core.embeddings import Embeddings

    class Given(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [BY_TEXT[text].tolist() for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return [float(x) for x in embed(text)]

    client, _ = chroma_collection()
    store = Chroma(client=client, collection_name="documents", embedding_function=Given())
    for first in range(0, len(IDS), BATCH):
        metadatas = [{"id": one} for one in IDS[first : first + BATCH]]
        store.add_texts(TEXTS[first : first + BATCH], metadatas=metadatas, ids=IDS[first : first + BATCH])

    def search(query: str, k: int) -> list[dict[str, Any]]:
        found = store.similarity_search_with_score(query, k=k)
        return [{"id": one.metadata["id"], "text": one.page_content, "score": score} for one, score in found]

    return search


def llamaindex() -> Any:
    """Return the search of LlamaIndex over Chroma."""
    from llama_index.core import StorageContext, VectorStoreIndex
    from llama_index.core.embeddings import BaseEmbedding
    from llama_index.core.schema import TextNode
    from llama_index.vector_stores.chroma import ChromaVectorStore

    class Given(BaseEmbedding):
        def _get_query_embedding(self, query: str) -> list[float]:
            return [float(x) for x in embed(query)]

        def _get_text_embedding(self, text: str) -> list[float]:
            return [float(x) for x in BY_TEXT[text]]

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

    _, collection = chroma_collection()
    nodes = [
        TextNode(id_=one, text=text, embedding=vector.tolist())
        for one, text, vector in zip(IDS, TEXTS, VECTORS, strict=True)
    ]
    context = StorageContext.from_defaults(vector_store=ChromaVectorStore(chroma_collection=collection))
    index = VectorStoreIndex(nodes, storage_context=context, embed_model=Given())

    def search(query: str, k: int) -> list[dict[str, Any]]:
        found = index.as_retriever(similarity_top_k=k).retrieve(query)
        return [{"id": one.node.node_id, "text": one.node.get_content(), "score": one.score} for one in found]

    return search


def txtai() -> Any:
    """Return the hybrid search of txtai."""
    from txtai import Embeddings

    def transform(texts: list[str]) -> np.ndarray:
        return np.stack([BY_TEXT[text] if text in BY_TEXT else embed(text) for text in texts]).astype(np.float32)

    embeddings = Embeddings(method="external", transform=transform, content=True, hybrid=True)
    embeddings.index(list(zip(IDS, TEXTS, strict=True)))

    def search(query: str, k: int) -> list[dict[str, Any]]:
        return embeddings.search(query, k)

    return search


def main() -> None:
    """Index everything, then serve."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Search(BaseModel):
        query: str
        k: int = 10

    search = {"langchain": langchain, "llamaindex": llamaindex, "txtai": txtai}[NAME]()
    app = FastAPI()

    def find(body: Search) -> dict[str, Any]:
        return {"results": search(body.query, body.k)}

    async def find_in_turn(body: Search) -> dict[str, Any]:
        return find(body)

    # txtai's store of texts is not for several threads: searches at the same moment failed or ended the process.
    app.post("/search")(find_in_turn if NAME == "txtai" else find)

    @app.get("/ready")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")


if __name__ == "__main__":
    main()
