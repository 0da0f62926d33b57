"""Keys, addresses and limits of embedding and reranking providers."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ProviderSettings(BaseSettings):
    """How the providers named in RAGECHO_EMBEDDER and RAGECHO_RERANKER are reached."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    embedder_dimensions: int = Field(
        0, ge=0, le=4000, description="Length of a provider's vectors; 0 takes what is known of its models."
    )
    embedder_query_prefix: str = Field("", description="Text before every question, for a provider's model.")
    embedder_passage_prefix: str = Field("", description="Text before every passage, for a provider's model.")
    embedder_max_tokens: int = Field(0, ge=0, description="Longest input of a provider's model; 0 takes the known.")
    provider_batch: int = Field(64, ge=1, le=2048, description="Passages in one embedding request.")
    provider_concurrency: int = Field(4, ge=1, le=64, description="Requests to a provider at the same time.")
    provider_requests_per_minute: int = Field(0, ge=0, description="Pace of requests to a provider; 0 is no limit.")
    provider_timeout_seconds: float = Field(30.0, gt=0, description="Longest wait for one answer of a provider.")
    provider_max_retries: int = Field(4, ge=0, le=10, description="Retries of a request that failed for now.")
    cohere_api_key: SecretStr | None = Field(None, description="Key for `cohere:MODEL`.")
    cohere_base_url: str = Field("https://api.cohere.com", description="Address for `cohere:MODEL`.")
    voyage_api_key: SecretStr | None = Field(None, description="Key for `voyage:MODEL`.")
    voyage_base_url: str = Field("https://api.voyageai.com/v1", description="Address for `voyage:MODEL`.")
    jina_api_key: SecretStr | None = Field(None, description="Key for `jina:MODEL`.")
    jina_base_url: str = Field("https://api.jina.ai/v1", description="Address for `jina:MODEL`.")
    reranker_base_url: str | None = Field(
        None,
        description="Address of a server of your own for RERANKER `rerank-compatible:MODEL` (vLLM, llama.cpp, Infinity: "
        "e.g. http://127.0.0.1:8080/v1) or `tei:MODEL` (Text Embeddings Inference).",
    )
    reranker_api_key: SecretStr | None = Field(
        None, description="Key for RERANKER_BASE_URL, where the server wants one."
    )
