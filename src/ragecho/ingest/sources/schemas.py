"""HTTP shapes of documents from elsewhere."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ragecho.ingest.service import Labels
from ragecho.kernel.caller import Access
from ragecho.library.schemas import ReadersIn, Tag


class UrlIn(BaseModel):
    """A page to take in."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)] = Field(
        description="An http or https address on the public internet.", examples=["https://example.org/handbook"]
    )
    tags: list[Tag] = Field(default_factory=list, max_length=50)
    access: Access = Access.WORKSPACE
    metadata: dict[str, Any] = Field(default_factory=dict, max_length=100)
    readers: ReadersIn | None = Field(None, description="People and groups who may read it besides.")

    def to_labels(self) -> Labels:
        """Return what the uploader says about the document."""
        named = (self.readers or ReadersIn()).to_named()
        return Labels(self.access, tuple(self.tags), self.metadata, named)
