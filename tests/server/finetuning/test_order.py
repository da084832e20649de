"""What passes between the server and a job's process, cut off anywhere."""

from pathlib import Path

import pytest

from adapters.jobs.job import Fault, Said
from adapters.jobs.order import (
    NEWS_FILE,
    Made,
    News,
    Order,
    news_line,
    read_made,
    read_news,
    read_order,
    write_made,
    write_order,
)
from adapters.training.progress import EpochResult, Estimate, Progress, RefusalBalance, Resumed
from adapters.training.recipe import Recipe
from config.models import ModelFile
from server.finetuning.work import _open_news

BALANCE = RefusalBalance(0.5, 0.9, 0.1, 0.95, 10, 20)
ALL_NEWS: list[News] = [
    Estimate(60, 8, 0, 2_740, 12.5, 1_000_000, "float32"),
    Progress(1, 8, 1, 2.5, 1e-3, 100.0, 9.0),
    Resumed(3, 8, 1),
    Said("Proved.", "warn"),
    EpochResult(1, 2.5, None, None, 3.0, True),
    EpochResult(2, 2.0, 2.25, BALANCE, 3.0, True),
    Made(".output/adapter.gguf", {"num_rows": 60, "name": "é"}, 5_480, 2),
    Fault("too_long", "line 3 is too long", "training_file"),
]


def test_an_order_comes_back_as_it_was_written(tmp_path: Path) -> None:
    base = ModelFile("tiny", tmp_path / "base.gguf", "ba5e", 7)
    order = Order("halden", "Reply as Halden.\n", base, Recipe(rank=4, target_modules=("q_proj",)), True, 15)
    write_order(tmp_path, order)
    assert read_order(tmp_path) == order
    assert (tmp_path / "order.json").stat().st_mode & 0o077 == 0


def test_news_are_read_once_from_any_place(tmp_path: Path) -> None:
    lines = [news_line(news) for news in ALL_NEWS]
    (tmp_path / NEWS_FILE).write_bytes(b"".join(lines))
    told, end = read_news(tmp_path, 0)
    assert [item.news for item in told] == ALL_NEWS
    assert read_news(tmp_path, end) == ([], end)
    later, _ = read_news(tmp_path, len(lines[0]) + len(lines[1]))
    assert [item.news for item in later] == ALL_NEWS[2:]
    assert read_news(tmp_path / "none", 5) == ([], 5)


@pytest.mark.parametrize("length", range(0, 60, 7))
def test_a_line_that_a_kill_cut_off_costs_only_itself(tmp_path: Path, length: int) -> None:
    """Half written, it waits for its end; the next process closes it, and it is passed over."""
    first, second = news_line(ALL_NEWS[0]), news_line(ALL_NEWS[1])
    (tmp_path / NEWS_FILE).write_bytes(first + second[:length])
    told, offset = read_news(tmp_path, 0)
    assert ([item.news for item in told], offset) == ([ALL_NEWS[0]], len(first))
    with _open_news(tmp_path) as file:
        file.write(news_line(ALL_NEWS[2]))
    told, _ = read_news(tmp_path, offset)
    assert [item.news for item in told] == [ALL_NEWS[2]]


@pytest.mark.parametrize("line", [b"{}\n", b"[1]\n", b"\xff\n", b'{"kind": "Told", "unix_seconds": 1, "news": {}}\n'])
def test_what_is_not_understood_is_passed_over(tmp_path: Path, line: bytes) -> None:
    (tmp_path / NEWS_FILE).write_bytes(line + news_line(ALL_NEWS[0]))
    told, _ = read_news(tmp_path, 0)
    assert [item.news for item in told] == [ALL_NEWS[0]]


def test_made_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    assert read_made(tmp_path) is None
    made = Made(".output/adapter.gguf", {"epochs": [1, 2]}, 5_480, 2)
    write_made(tmp_path, made)
    assert read_made(tmp_path) == made
