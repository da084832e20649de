"""What `adapter train` shows, and which folder and recipe it means."""

from pathlib import Path

import pytest

from adapters.make import TrainingInput, thinned
from adapters.training.progress import EpochResult, Estimate, Progress, Resumed
from adapters.training.recipe import Recipe, write_recipe
from config.errors import BadRequestError
from config.settings import load_settings
from server.cli.training_run import choose_recipe, run_folder
from server.cli.training_view import TrainingView, minutes, sparkline


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([1.0], "▁"),
        ([1.0, 1.0], "▁▁"),
        ([3.0, 2.0, 1.0], "█▅▁"),
        ([0.0] * 48 + [1.0] * 48, "▁" * 12 + "█" * 12),
    ],
)
def test_a_curve_in_one_line(values: list[float], line: str) -> None:
    assert sparkline(values) == line


def test_a_curve_for_the_card_keeps_its_end() -> None:
    points = [(step, 1.0 / step) for step in range(1, 1001)]
    kept = thinned(points, 200)
    assert len(kept) == 200
    assert kept[-1] == points[-1]
    assert thinned(points[:3], 200) == points[:3]
    assert thinned([], 200) == []


def test_the_view_tells_estimate_resumption_and_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingView() as view:
        view.tell(Estimate(60, 24, 42_000, 6_000, 600.0, 1_500_000_000, "float32"))
        view.tell(Resumed(8, 24, 2))
        view.tell(Progress(9, 24, 2, 1.5, 4e-4, 410.0, 120.0))
        view.tell(EpochResult(2, 1.4, 1.25, None, 130.0, True))
    told = capsys.readouterr().err
    for part in (
        "about 10 min and 1.5 GB",
        "behind step 8 of 24",
        "loss 1.400, held out 1.250, the best so far (2 min)",
    ):
        assert part in told


def test_minutes_are_seconds_where_they_are_few() -> None:
    assert (minutes(89), minutes(90), minutes(3_600)) == ("89 s", "2 min", "60 min")


def test_the_same_command_means_the_same_folder(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("one", encoding="utf-8")
    settings = load_settings(environment={"HOUSEVOICE_DATA_DIR": str(tmp_path / "data")})
    given = TrainingInput("halden", "Reply as Halden.", rows)
    folder = run_folder(settings, given, Recipe(), "ba5e")
    assert folder == run_folder(settings, given, Recipe(), "ba5e")
    assert folder.parent == tmp_path / "data" / "training" / "runs" / "halden"
    others = [
        run_folder(settings, given, Recipe(rank=4), "ba5e"),
        run_folder(settings, given, Recipe(), "0ther"),
        run_folder(settings, TrainingInput("halden", "Be brief.", rows), Recipe(), "ba5e"),
    ]
    rows.write_text("two", encoding="utf-8")
    others.append(run_folder(settings, given, Recipe(), "ba5e"))
    assert len({folder, *others}) == 5


def test_a_run_goes_on_with_its_own_recipe(tmp_path: Path) -> None:
    write_recipe(Recipe(rank=4), tmp_path / "recipe.toml")
    assert choose_recipe(tmp_path, None, None, None) == Recipe(rank=4)
    assert choose_recipe(None, tmp_path / "recipe.toml", 5, 16) == Recipe(rank=16, alpha=32.0, num_epochs=5)
    assert choose_recipe(None, None, None, None, "blocks") == Recipe(fact_layout="blocks")
    with pytest.raises(BadRequestError, match="its own recipe"):
        choose_recipe(tmp_path, None, 5, None)
    with pytest.raises(BadRequestError, match="its own recipe"):
        choose_recipe(tmp_path, None, None, None, "blocks")
    with pytest.raises(BadRequestError, match="holds no training run"):
        choose_recipe(tmp_path / "nowhere", None, None, None)
