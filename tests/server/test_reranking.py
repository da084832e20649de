"""Reranking by a real cross-encoder of a few thousand weights, and what happens where there is no time for it."""

import threading
from pathlib import Path

import pytest

from config.errors import ModelError
from config.settings import RetrievalSettings, Settings, load_settings
from ingest.documents import Chunk, Document
from server.candidates import Candidate
from server.reranking import Reranker, open_reranker, passage_of

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "leave", "days", "rooms", "wren", "seats", "how", "many"]
PASSAGES = ("wren seats", "rooms", "days", "leave days")


def make_cross_encoder(folder: Path, num_labels: int = 1, *, safe: bool = True) -> Path:
    """A one-layer BERT with random weights and a tokenizer of whole words."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    torch.manual_seed(3)
    folder.mkdir(parents=True)
    BertTokenizer({word: number for number, word in enumerate(WORDS)}).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=num_labels,
        initializer_range=0.3,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder


def settings_with(reranker: Path | str, tmp_path: Path, **changes: object) -> Settings:
    settings = load_settings(environment={"HOUSEVOICE_DATA_DIR": str(tmp_path / "data")})
    changes = {"reranker": str(reranker), "rerank_seconds": 60.0, **changes}
    return settings.model_copy(update={"retrieval": settings.retrieval.model_copy(update=changes)})


def candidates() -> list[Candidate]:
    document = Document("d", "kb", "d.md", "rooms", "text/plain", "h", 9, 0, 0)
    chunks = [Chunk(f"c{n}", "d", 3 * n, text, (), "", 2) for n, text in enumerate(PASSAGES)]
    return [Candidate(chunk, document, 1, 0.9, 1, 5.0, rank, 0.1) for rank, chunk in enumerate(chunks, 1)]


def order(found: list[Candidate]) -> list[str]:
    return [item.chunk.chunk_id for item in found]


def test_a_cross_encoder_orders_the_first_candidates(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = make_cross_encoder(tmp_path / "model")
    reranker = open_reranker(settings_with(path, tmp_path, rerank_candidates=3))
    assert reranker is not None
    reranker.wait_until_loaded()
    found = reranker.rerank("how many days", candidates())
    assert found.outcome == "reranked 3"
    assert order(found.candidates)[3] == "c3"
    assert found.candidates[3].rerank_score is None
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    expected: dict[str, float] = {}
    for item in candidates()[:3]:
        with torch.inference_mode():
            inputs = tokenizer("how many days", passage_of(item), return_tensors="pt")
            expected[item.chunk.chunk_id] = float(model(**inputs).logits[0, 0])
    assert order(found.candidates)[:3] == sorted(expected, key=lambda key: -expected[key])
    assert len(set(expected.values())) == 3


@pytest.mark.parametrize("name", ["missing", "pickled"])
def test_what_cannot_be_used_is_said_at_the_start(tmp_path: Path, name: str) -> None:
    make_cross_encoder(tmp_path / "pickled", safe=False)
    with pytest.raises(ModelError, match=r"retrieval\.reranker"):
        open_reranker(settings_with(tmp_path / name, tmp_path))


def test_a_model_that_does_not_rank_leaves_the_order(tmp_path: Path) -> None:
    reranker = open_reranker(settings_with(make_cross_encoder(tmp_path / "model", num_labels=3), tmp_path))
    assert reranker is not None
    found = reranker.rerank("how many days", candidates())
    assert found.candidates == candidates()
    assert found.outcome.startswith("failed: The model in")
    assert "3 outputs" in found.outcome


class HeldScorer:
    """Scores a text by its length, once it may."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.num_scored = 0

    def score(self, query: str, texts: list[str]) -> list[float]:
        self.gate.wait()
        self.num_scored += len(texts)
        return [float(len(text)) for text in texts]


def limits(seconds: float) -> RetrievalSettings:
    return load_settings(environment={}).retrieval.model_copy(update={"rerank_seconds": seconds})


def test_when_time_is_up_the_order_stays_and_reading_stops() -> None:
    scorer = HeldScorer()
    reranker = Reranker(lambda: scorer, limits(0.05))
    many = [item for _ in range(5) for item in candidates()]
    found = reranker.rerank("how many days", many)
    assert (found.candidates, found.outcome) == (many, "gave up after 0.05 s")
    scorer.gate.set()
    again = Reranker(lambda: scorer, limits(60)).rerank("how many days", candidates())
    assert order(again.candidates) == ["c0", "c3", "c1", "c2"]
    assert again.outcome == "reranked 4"
    assert scorer.num_scored <= 8  # one batch of the first question at most, and the second's four


def test_while_it_loads_the_order_stays() -> None:
    gate, scorer = threading.Event(), HeldScorer()
    scorer.gate.set()

    def load() -> HeldScorer:
        gate.wait()
        return scorer

    reranker = Reranker(load, limits(0.05))
    assert reranker.rerank("days", candidates()).outcome == "gave up after 0.05 s"
    gate.set()
    reranker.wait_until_loaded()
    assert Reranker(load, limits(60)).rerank("days", candidates()).outcome == "reranked 4"


def test_none_is_set_by_default(tmp_path: Path) -> None:
    assert open_reranker(settings_with("", tmp_path)) is None
