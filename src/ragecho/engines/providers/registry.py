"""Every embedder of this installation, by embedding space."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ragecho.engines.models.shortened import ShortenedEmbedder
from ragecho.engines.providers.build import embedder_of_space
from ragecho.kernel.errors import ConfigurationError, Unavailable
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.ports.embedder import Embedder

# Models in memory at once: the usual one, the one that is changed to, and some of workspaces that chose their own.
MOST_MODELS: Final = 4


class EmbedderRegistry:
    """Implements the port `Embedders`. Keeps the models that were used last; weights are loaded when one is first used."""

    def __init__(
        self,
        model_dir: Path,
        *,
        threads: int = 0,
        most: int = MOST_MODELS,
        build: Callable[[EmbeddingSpace], Embedder] | None = None,
    ) -> None:
        self._build = build or (lambda space: embedder_of_space(space, model_dir, threads=threads))
        self._most = most
        self._models: OrderedDict[tuple[str, str], Embedder] = OrderedDict()

    def of(self, space: EmbeddingSpace) -> Embedder:
        """Return the embedder of a space. Raises `Unavailable`, which names the fix, when its model is not here."""
        model = self._model(space)
        # One set of weights serves all lengths of a Matryoshka model.
        return model if model.dimensions == space.dimensions else ShortenedEmbedder(model, space.dimensions)

    def _model(self, space: EmbeddingSpace) -> Embedder:
        key = (space.model, space.revision)
        known = self._models.get(key)
        if known is None:
            try:
                known = self._models[key] = self._build(space)
            except ConfigurationError as error:
                raise Unavailable(
                    f"The embedding model {space.model} cannot be used here: {error.message} Or give the workspaces that"
                    " use it another one with `ragecho reindex`.",
                    model=space.model,
                ) from error
        self._models.move_to_end(key)
        while len(self._models) > self._most:
            # Who works with it at this moment keeps it until that is done; its memory and threads go with the last of them.
            self._models.popitem(last=False)
        return known
