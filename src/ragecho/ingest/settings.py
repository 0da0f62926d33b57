"""Settings of ingestion."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from ragecho.ports.parser import ParseLimits


class IngestSettings(BaseSettings):
    """How documents are cut and what one may cost."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    chunk_tokens: int = Field(
        512, ge=64, le=8192, description="Longest chunk, in the embedder's tokens, context included."
    )
    chunk_overlap_tokens: int = Field(50, ge=0, le=512, description="How much neighbouring chunks share, in tokens.")
    max_file_bytes: int = Field(200 * 1024**2, ge=1024, description="Largest file that is accepted.")
    max_files_per_upload: int = Field(100, ge=1, description="Most files in one request.")
    max_pages: int = Field(10_000, ge=1, description="Most pages of one document.")
    max_characters: int = Field(20_000_000, ge=1000, description="Longest text of one document.")
    parser_memory_bytes: int = Field(2 * 1024**3, ge=64 * 1024**2, description="Memory one parser may use.")
    parser_seconds: float = Field(120.0, gt=0, description="Time one document may be parsed.")
    parser_processes: int = Field(2, ge=1, description="Documents parsed at once by one worker.")
    worker_concurrency: int = Field(6, ge=1, description="Documents in the works at once in one worker.")

    worker_batch: int = Field(
        32, ge=1, le=256, description="Small documents of one workspace that one worker takes through together."
    )

    def parse_limits(self) -> ParseLimits:
        """Return the limits of one parse."""
        return ParseLimits(
            memory_bytes=self.parser_memory_bytes,
            wall_seconds=self.parser_seconds,
            pages=self.max_pages,
            characters=self.max_characters,
        )
