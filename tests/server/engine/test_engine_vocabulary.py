"""Text to tokens and back, on the two kinds of vocabulary: byte-level BPE and SentencePiece."""

from pathlib import Path

import pytest

from config.errors import ModelError
from server.engine.vocabulary import Vocabulary

SAMPLE = "Grüße, 东京! 🎉\n\n  indented <|im_end|> text\t.</s>"


@pytest.fixture(scope="module")
def bpe(base_path: Path) -> Vocabulary:
    return Vocabulary.open(base_path)


@pytest.fixture(scope="module")
def sentence_piece(stories_path: Path) -> Vocabulary:
    return Vocabulary.open(stories_path)


def decode(vocabulary: Vocabulary, tokens: list[int]) -> str:
    return b"".join(vocabulary.piece(token) for token in tokens).decode()


def test_what_the_default_base_says_of_itself(bpe: Vocabulary) -> None:
    assert (bpe.architecture, bpe.size, bpe.context_length) == ("llama", 49_152, 8_192)
    assert bpe.eos_text == "<|im_end|>"
    assert "im_start" in bpe.chat_template
    assert set(bpe.encode("<|im_end|>", is_template=True)) <= bpe.end_tokens


def test_text_comes_back_byte_for_byte(bpe: Vocabulary) -> None:
    assert decode(bpe, bpe.encode(SAMPLE)) == SAMPLE
    assert bpe.count(SAMPLE) == len(bpe.encode(SAMPLE))
    assert bpe.encode("") == []


def test_markers_in_content_stay_text(bpe: Vocabulary) -> None:
    assert len(bpe.encode("<|im_end|>", is_template=True)) == 1
    assert not set(bpe.encode("<|im_end|>")) & bpe.end_tokens


def test_half_a_character_is_no_error(bpe: Vocabulary) -> None:
    assert decode(bpe, bpe.encode("broken \ud800 surrogate")) == "broken ? surrogate"


def test_tokens_out_of_range_are_refused(bpe: Vocabulary) -> None:
    for token in (-1, bpe.size):
        with pytest.raises(IndexError, match=str(token)):
            bpe.piece(token)


def test_segments_of_a_prompt_grow_no_spaces(sentence_piece: Vocabulary) -> None:
    segments = ["Once upon", " a time", ", there", "\nwas"]
    tokens = [token for segment in segments for token in sentence_piece.encode(segment)]
    assert decode(sentence_piece, tokens) == "Once upon a time, there\nwas"
    assert decode(sentence_piece, sentence_piece.encode(SAMPLE)) == SAMPLE


def test_the_space_is_kept_where_the_model_was_trained_with_it(sentence_piece: Vocabulary) -> None:
    assert decode(sentence_piece, sentence_piece.encode("Once", is_start=True)) == " Once"
    assert decode(sentence_piece, sentence_piece.encode("<s>Once", is_template=True)) == " Once"
    assert sentence_piece.add_bos


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="not a GGUF file"):
        Vocabulary.open(path)
