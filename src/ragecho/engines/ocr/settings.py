"""Settings of text recognition (OCR)."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LANGUAGES = ("eng", "deu", "fra", "spa", "ita", "por", "nld")


class OcrMode(StrEnum):
    """Whether pictures of text are recognised."""

    AUTO = "auto"
    OFF = "off"


class OcrSettings(BaseSettings):
    """Recognition of text in scans and pictures."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    ocr: OcrMode = Field(OcrMode.AUTO, description="`auto` recognises text in scans and pictures, `off` does not.")
    ocr_languages: Annotated[tuple[str, ...], NoDecode] = Field(
        LANGUAGES,
        description="Languages of scans, comma separated, the likeliest first (Tesseract's codes: `eng`, `deu`, `rus`, …);"
        " those whose models are installed are used.",
    )

    @field_validator("ocr_languages", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        return (
            tuple(filter(None, (one.strip() for one in value.replace("+", ",").split(","))))
            if isinstance(value, str)
            else value
        )

    @field_validator("ocr_languages")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(one.replace("_", "").replace("/", "").isalnum() for one in value):
            raise ValueError("languages are codes such as eng or deu")
        return value
