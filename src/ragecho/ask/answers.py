"""Parts of an answer on their way from a generator, or from quoting, to what is shown."""

from dataclasses import dataclass

from ragecho.library.analysis import terms_of


@dataclass(frozen=True, slots=True)
class Support:
    """Where in a passage (`index` among those shown) a sentence finds its words, and how much of it (0 to 1)."""

    index: int
    start: int
    end: int
    score: float
    is_supported: bool


@dataclass(frozen=True, slots=True)
class CheckedSentence:
    """A sentence of an answer without its marks, the white space that follows it, and what it rests on."""

    text: str
    trailing: str
    supports: tuple[Support, ...]

    @property
    def is_supported(self) -> bool:
        """Whether at least one citation holds the sentence, or it states nothing that needs one."""
        return any(support.is_supported for support in self.supports) or not terms_of(self.text)
