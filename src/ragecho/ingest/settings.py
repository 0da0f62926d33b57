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
    max_workspace_documents: int = Field(
        1_000_000,
        ge=0,
        description="Most documents of one workspace; 0 means any number. A workspace may have its own.",
    )
    max_workspace_bytes: int = Field(
        0, ge=0, description="Most bytes of original files in one workspace; 0 means any number."
    )
    max_waiting_documents: int = Field(
        100_000, ge=0, description="Most documents of one workspace that wait to be processed; 0 means any number."
    )
    upload_expiry_hours: float = Field(
        24.0, gt=0, le=24 * 30, description="How long an upload in pieces may rest before it is removed."
    )
    max_open_uploads: int = Field(100, ge=1, description="Most unfinished uploads in pieces of one caller.")
    retention_days: int = Field(
        0, ge=0, le=36500, description="Delete documents this many days after their last upload; 0 keeps them."
    )
    max_files_per_upload: int = Field(100, ge=1, description="Most files in one request.")
    max_pages: int = Field(10_000, ge=1, description="Most pages of one document.")
    max_characters: int = Field(20_000_000, ge=1000, description="Longest text of one document.")
    parser_memory_bytes: int = Field(2 * 1024**3, ge=64 * 1024**2, description="Memory one parser may use.")
    parser_seconds: float = Field(120.0, gt=0, description="Time one document may be parsed.")
    parser_processes: int = Field(2, ge=1, description="Documents parsed at once by one worker.")
    max_ocr_pages: int = Field(2_000, ge=1, description="Most scanned pages that are recognised in one document.")
    max_archive_files: int = Field(
        1_000, ge=1, description="Most files in one archive or e-mail, those within inner ones counted."
    )
    max_archive_depth: int = Field(3, ge=1, le=20, description="How deep archives and e-mails may lie in each other.")
    max_archive_ratio: int = Field(
        200, ge=2, description="How many times its packed size a file in an archive may be, from 1 MiB on."
    )
    max_unpacked_bytes: int = Field(
        512 * 1024**2, ge=1024**2, description="Most bytes that all files of one archive unpack to."
    )
    worker_concurrency: int = Field(6, ge=1, description="Documents, or batches of small ones, at once in one worker.")
    parse_concurrency: int = Field(
        0, ge=0, description="Documents or batches parsed at once, over all workers; 0 means any number."
    )
    ocr_concurrency: int = Field(
        0, ge=0, description="Scanned documents recognised at once, over all workers; 0 means any number."
    )
    embed_concurrency: int = Field(
        0, ge=0, description="Documents or batches embedded at once, over all workers; 0 means any number."
    )
    index_concurrency: int = Field(
        0, ge=0, description="Documents or batches written to the index at once, over all workers; 0 means any number."
    )
    tenant_concurrency: int = Field(
        0, ge=0, description="Documents of one organisation in the works at once, over all workers; 0 means any number."
    )
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
            ocr_pages=self.max_ocr_pages,
            members=self.max_archive_files,
            archive_depth=self.max_archive_depth,
            archive_ratio=self.max_archive_ratio,
            unpacked_bytes=self.max_unpacked_bytes,
        )

    def step_limits(self) -> dict[str, int]:
        """Return how many may be in each step at once over all workers, by step; 0 means any number."""
        return {"parse": self.parse_concurrency, "embed": self.embed_concurrency, "index": self.index_concurrency}

    def own_ocr_concurrency(self) -> int:
        """Return how many scanned documents one worker recognises at once: never so many that nothing else has a place."""
        return max(1, min(self.parser_processes, self.worker_concurrency - 1))
