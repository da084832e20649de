"""A cross-encoder, which reads question and passage together: slower and more exact than comparing two vectors."""

from pathlib import Path
from typing import Any

from config.errors import ModelError
from config.models import locate
from config.settings import Settings

BATCH = 4
"""Passages scored at once: after each batch the caller may stop."""


class CrossEncoderScorer:
    """A sentence-transformers CrossEncoder on the CPU with one output. Use from one thread."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def score(self, query: str, texts: list[str]) -> list[float]:
        """One number a text, larger is better; comparable for one query only. Longer texts are cut by the model."""
        pairs = [(query, text) for text in texts]
        return [float(value) for value in self._model.predict(pairs, batch_size=BATCH, show_progress_bar=False)]


def find_cross_encoder(settings: Settings) -> Path:
    """The folder that retrieval.reranker names. Raises ModelError where there is none with safetensors weights."""
    setting = "retrieval.reranker"
    return locate(settings.retrieval.reranker, settings.data, setting, _only_safetensors)


def load_cross_encoder(path: Path) -> CrossEncoderScorer:
    """Without any network. Raises ModelError where the folder holds no such model, or one with several outputs."""
    from sentence_transformers import CrossEncoder

    try:
        model = CrossEncoder(str(path), device="cpu", local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The reranker in {path} cannot be loaded ({error}).", "Check retrieval.reranker.") from error
    if model.num_labels != 1:
        raise ModelError(
            f"The model in {path} has {model.num_labels} outputs; a reranker has one.",
            "Set another retrieval.reranker.",
        )
    return CrossEncoderScorer(model)


def _only_safetensors(folder: Path) -> Path | None:
    """Pickled weights are not accepted, as loading them can run code."""
    found = next(iter(sorted(folder.rglob("model.safetensors"))), None)
    return found.parent if found else None
