import pytest

from benchmarks.bench.sse import EventReader

STREAM = b': keep-alive\n\ndata: {"a":\ndata: 1}\r\n\r\nevent: x\ndata:two \xc3\xa4\n\nid: 7\n\ndata: [DONE]\n\n'
EVENTS = ['{"a":\n1}', "two ä", "[DONE]"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
def test_events_are_the_same_however_the_bytes_arrive(size: int) -> None:
    reader = EventReader()
    parts = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert [event for part in parts for event in reader.feed(part)] == EVENTS


def test_an_event_without_its_empty_line_is_not_told_yet() -> None:
    reader = EventReader()
    assert reader.feed(b"data: half\n") == []
    assert reader.feed(b"\n") == ["half"]
