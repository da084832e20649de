import random
from collections import Counter

from benchmarks.bench.pool import make_chunks, question, sentences_of, zipf_draw
from config.settings import SAMPLE

NUM_WORDS = 60


def num_words(text: str) -> int:
    return len(text.split())


def test_sentences_are_whole_and_come_once() -> None:
    sentences = sentences_of(SAMPLE / "documents")
    assert len(sentences) == len(set(sentences)) > 200
    assert all(sentence[-1] in ".!?" and "\n" not in sentence for sentence in sentences)


def test_chunks_fit_differ_and_do_not_depend_on_how_many_are_made() -> None:
    sentences = sentences_of(SAMPLE / "documents")
    chunks = make_chunks(sentences, 40, NUM_WORDS, num_words)
    assert chunks[:5] == make_chunks(sentences, 5, NUM_WORDS, num_words)
    assert all(NUM_WORDS / 2 < num_words(chunk.text) <= NUM_WORDS for chunk in chunks)
    assert len({chunk.text for chunk in chunks}) == len({chunk.path for chunk in chunks}) == 40


def test_draws_are_without_repeats_and_the_same_for_one_seed() -> None:
    draws = [zipf_draw(random.Random(5), 20, 9) for _ in range(2)]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 9
    assert sorted(zipf_draw(random.Random(5), 9, 9)) == list(range(9))


def test_early_items_are_drawn_more_often_and_stand_anywhere() -> None:
    chance = random.Random(1)
    draws = [zipf_draw(chance, 20, 4) for _ in range(2_000)]
    counts = Counter(item for draw in draws for item in draw)
    assert counts[0] > counts[4] > counts[15] > 0
    places = Counter(draw.index(0) for draw in draws if 0 in draw)
    assert all(count > 0.2 * counts[0] for count in places.values())


def test_no_two_questions_are_alike() -> None:
    chance = random.Random(1)
    assert len({question(chance, number) for number in range(500)}) == 500
