"""Step times are measured once, kept, and measured again where anything that decides them has changed."""

import json
from pathlib import Path

import pytest

from server.engine.fake import FakeBackend
from server.engine.steptime import StepTable
from server.engine.steptrial import find_table, known_table, measure

GPU = 0
"""No threads of ours compute, so that no other process on this machine can make the trial count as disturbed."""


def test_what_is_measured_is_a_table_up_to_the_largest_batch_and_leaves_nothing_behind() -> None:
    backend = FakeBackend()
    trial = measure(backend, GPU, budget_seconds=60)
    assert [rows for rows, _ in trial.table.points][-1] == backend.shape.max_batch_tokens == 64
    assert backend.num_cells_used == 0


def test_without_time_one_row_is_measured() -> None:
    assert [rows for rows, _ in measure(FakeBackend(), GPU, budget_seconds=0).table.points] == [1]


def test_it_is_measured_once(tmp_path: Path) -> None:
    path = tmp_path / "steptimes.json"
    first = find_table(FakeBackend(), path, "base", GPU)
    assert first is not None
    again = FakeBackend()
    assert find_table(again, path, "base", GPU) == first
    assert again.batches == []
    find_table(again, path, "another base", GPU)
    assert again.batches != []


def test_a_disturbed_measurement_is_used_but_not_kept(tmp_path: Path) -> None:
    table = find_table(FakeBackend(), tmp_path / "steptimes.json", "base", num_threads=1_000)
    assert isinstance(table, StepTable)
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_fails_leaves_the_engine_without_a_table(tmp_path: Path) -> None:
    backend = FakeBackend()
    backend.is_failing = True
    assert find_table(backend, tmp_path / "steptimes.json", "base", GPU) is None


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_next_start(tmp_path: Path) -> None:
    assert find_table(FakeBackend(), tmp_path / "not there" / "steptimes.json", "base", GPU) is not None


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: {**kept, "points": []},
        lambda kept: {**kept, "points": [[1, 0.1], [1, 0.2]]},
        lambda kept: {**kept, "points": [[1, -0.1]]},
        lambda kept: {**kept, "points": "many"},
        lambda kept: {**kept, "format": 99},
        lambda kept: {"format": kept["format"]},
        lambda kept: [kept],
    ],
)
def test_a_damaged_file_is_measured_again(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "steptimes.json"
    find_table(FakeBackend(), path, "base", GPU)
    assert callable(damage)
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    again = FakeBackend()
    assert find_table(again, path, "base", GPU) is not None
    assert again.batches != []
    path.write_text("{")
    assert known_table(path, "base") is None
