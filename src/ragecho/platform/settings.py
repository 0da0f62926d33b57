"""Settings that every role shares, read from RAGECHO_* or a `.env` file. Features add their own sections."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Environment(StrEnum):
    """Where this runs; production refuses what development tolerates."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """What every role reads."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    environment: Environment = Field(
        Environment.DEVELOPMENT, description="`development` or `production`; production refuses unsafe settings."
    )
    data_dir: Path = Field(Path("data"), description="Folder of the embedded database, blobs and keys.")
    host: str = Field("127.0.0.1", description="Address that the HTTP server listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the HTTP server listens on.")
    api_processes: int = Field(
        0,
        ge=0,
        description="Processes that answer HTTP on one port. 0 means one under `ragecho api`, and under `ragecho serve` one for "
        "each core, at most four and one for each 4 GB of memory.",
    )
    public_url: str | None = Field(None, description="The URL that people type; default http://HOST:PORT.")
    allow_private_addresses: bool = Field(
        False,
        description="Let identity providers and logout endpoints be on this machine or a private network; for development.",
    )
    database_url: SecretStr | None = Field(
        None, description="External PostgreSQL 16+ with pgvector 0.8+ (postgresql://…); empty means the embedded one."
    )
    database_owner_url: SecretStr | None = Field(
        None, description="URL of a user that may change tables, for migrations; default DATABASE_URL."
    )
    database_pool_size: int = Field(
        10,
        ge=1,
        description="Most connections of one process for the application, and as many again where it holds the identity service; "
        "half of them are for reading.",
    )
    database_prepare: bool = Field(
        True, description="Prepared statements; switch them off behind a proxy that pools transactions."
    )
    blob_url: str | None = Field(
        None, description="Where original files are kept: file:///path; default DATA_DIR/blobs."
    )
    model_dir: Path = Field(
        Path(platformdirs.user_cache_dir("ragecho")) / "models",
        description="Folder of model weights, filled at set-up.",
    )
    embedder: str = Field(
        "bge-small-en-v1.5",
        description="Embedding model: a name of `ragecho models ls`, or `openai:MODEL`, `openai-compatible:`, `ollama:`, "
        "`cohere:`, `voyage:`.",
    )
    reranker: str = Field(
        "ms-marco-MiniLM-L-12-v2",
        description="Reranker: a name of `ragecho models ls`, which judges evidence as well; or what only puts passages in order: "
        "`cohere:MODEL`, `jina:`, `voyage:`, `rerank-compatible:`, `tei:`, `llm` (the first model of GENERATOR); or `none`.",
    )
    model_threads: int = Field(0, ge=0, description="Threads for models in one process; 0 means all cores.")
    generator: Annotated[tuple[str, ...], NoDecode] = Field(
        ("extractive",), description="Ordered, comma separated: `openai:gpt-5-mini,extractive`."
    )
    log_level: str = Field("info", description="debug, info, warning or error.")
    log_format: str = Field("auto", description="`json`, `console`, or `auto`: console on a terminal, JSON elsewhere.")

    @field_validator("generator", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        """Read `a,b` as a list; that is how the environment gives it."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
