"""Streaming must give what a look at the whole answer would give, however it is cut into tokens."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from server.engine.text import TextStream


def stream(pieces: list[bytes], stop: tuple[str, ...]) -> tuple[list[str], bool]:
    text = TextStream(stop)
    shown = [text.push(piece) for piece in pieces]
    return [*shown, text.finish()], text.is_stopped


def naive(text: str, stop: tuple[str, ...]) -> str:
    """Read character by character until some stop string is complete."""
    for end in range(1, len(text) + 1):
        found = [stopper for stopper in stop if text[:end].endswith(stopper)]
        if found:
            return text[: end - max(len(stopper) for stopper in found)]
    return text


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


@given(
    st.text(alphabet="abé🎉\n", max_size=30),
    st.lists(st.text(alphabet="abé🎉\n", min_size=1, max_size=4), max_size=4).map(tuple),
    st.lists(st.integers(0, 200), max_size=30),
)
def test_any_split_gives_the_naive_result(text: str, stop: tuple[str, ...], cuts: list[int]) -> None:
    shown, is_stopped = stream(split(text.encode(), cuts), stop)
    expected = naive(text, stop)
    assert "".join(shown) == expected
    assert is_stopped == any(stopper in text for stopper in stop)


@given(st.text(alphabet="ab", max_size=30), st.lists(st.integers(0, 30), max_size=30))
def test_what_was_shown_is_never_taken_back(text: str, cuts: list[int]) -> None:
    stop = ("aab", "bb")
    stream_, shown = TextStream(stop), ""
    for piece in split(text.encode(), cuts):
        shown += stream_.push(piece)
        assert naive(text, stop).startswith(shown)


def test_text_is_held_back_only_while_it_could_become_a_stop_string() -> None:
    stream_ = TextStream(("END",))
    assert [stream_.push(piece) for piece in (b"a E", b"N", b"T", b"RY EN", b"D!")] == ["a ", "", "ENT", "RY ", ""]
    assert stream_.is_stopped
    assert stream_.push(b"more") == ""


def test_characters_are_never_split() -> None:
    shown, _ = stream([bytes([byte]) for byte in "ü🎉".encode()], ())
    assert shown == ["", "ü", "", "", "", "🎉", ""]


def test_bytes_of_an_unfinished_character_are_dropped_at_the_end() -> None:
    assert stream([b"ok \xf0\x9f"], ()) == (["ok ", ""], False)


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    assert stream([b"a\xffb"], ()) == (["a�b", ""], False)
