"""A run that is killed goes on, and ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adapters.examples import Example
from adapters.training.base import TrainingBase
from adapters.training.progress import EpochResult, Estimate, Progress, Resumed, TrainingEvent, TrainingResult
from adapters.training.recipe import Recipe, read_recipe, write_recipe
from adapters.training.run import CHECKPOINTS_FOLDER
from adapters.training.trainer import Trainer, is_interrupted
from config.errors import BadRequestError, ConfigError
from config.prompt import Conversation, Source, Turn
from tests.adapters.tiny import training_base, write_base

BUDGET = 100_000_000
RECIPE = Recipe(
    rank=4, alpha=8.0, num_epochs=4, batch_rows=2, learning_rate=0.01, dropout=0.2, patience=3, checkpoint_seconds=0.0
)
"""Dropout and shuffles draw on random generators, which have to be restored too."""
ROOT = Path(__file__).parents[2]
CHILD = """
import sys
from pathlib import Path
from tests.adapters.test_resume import BUDGET, EXAMPLES, HELD_OUT, RECIPE
from tests.adapters.tiny import training_base
from adapters.training.progress import EpochResult, Progress
from adapters.training.trainer import Trainer

def tell(event):
    if isinstance(event, Progress | EpochResult):
        print(f"{type(event).__name__} {event.epoch} {getattr(event, 'step', '')}", flush=True)

Trainer(training_base(Path(sys.argv[1])), BUDGET).train(EXAMPLES, HELD_OUT, RECIPE, Path(sys.argv[2]), tell)
"""


def example(question: str) -> Example:
    sources = (Source(1, "A", "", "ab 12 c"),)
    return Example(Conversation((Turn("user", question),), sources, system="s"), "It is 12 [1].")


EXAMPLES, HELD_OUT = [example(letter) for letter in "abcdef"], [example(letter) for letter in "gh"]


class KilledError(BaseException):
    """Stands for a kill inside this process: nothing of ours catches it."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TrainingBase:
    return training_base(write_base(tmp_path_factory.mktemp("base") / "base.gguf"))


@pytest.fixture(scope="module")
def whole(base: TrainingBase, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(base, tmp_path_factory.mktemp("whole"))


def train(
    base: TrainingBase,
    output: Path,
    recipe: Recipe = RECIPE,
    events: list[TrainingEvent] | None = None,
    stop_at: int = 0,
) -> TrainingResult:
    """`stop_at`: breaks off behind this step, before its checkpoint is written."""

    def tell(event: TrainingEvent) -> None:
        if events is not None:
            events.append(event)
        if isinstance(event, Progress) and event.step == stop_at:
            raise KilledError

    return Trainer(base, BUDGET).train(EXAMPLES, HELD_OUT, recipe, output, tell)


def weights(result: TrainingResult) -> dict[str, torch.Tensor]:
    return dict(load_file(result.adapter / "adapter_model.safetensors"))


def same_weights(one: TrainingResult, other: TrainingResult) -> bool:
    left, right = weights(one), weights(other)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def kill_at(base: Path, output: Path, line: str) -> None:
    """Train in a process of its own, and kill it as soon as it tells `line`."""
    command = [sys.executable, "-c", CHILD, str(base), str(output)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout is not None
        for told in process.stdout:
            if told.strip() == line:
                process.kill()
    assert process.returncode == -signal.SIGKILL


def test_killed_twice_it_ends_with_the_weights_of_an_undisturbed_run(
    base: TrainingBase, whole: TrainingResult, tmp_path: Path
) -> None:
    kill_at(base.path, tmp_path, "Progress 1 2")
    assert is_interrupted(tmp_path)
    assert not (tmp_path / "adapter").exists()
    kill_at(base.path, tmp_path, "EpochResult 2")
    events: list[TrainingEvent] = []
    result = train(base, tmp_path, events=events)
    assert isinstance(events[0], Resumed)
    assert events[0].step >= 5
    assert not any(isinstance(event, Estimate) for event in events)
    assert same_weights(result, whole)
    assert result.num_resumed == 2
    assert [(e.training_loss, e.validation_loss, e.is_best) for e in result.epochs] == [
        (e.training_loss, e.validation_loss, e.is_best) for e in whole.epochs
    ]
    assert (result.best_epoch, result.base_validation_loss) == (whole.best_epoch, whole.base_validation_loss)
    points = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [point["step"] for point in points if "loss" in point] == list(range(1, 13))
    assert [point["epoch"] for point in points if "training_loss" in point] == [1, 2, 3, 4]


@pytest.mark.parametrize("step", [1, 3, 4, 11, 12])
def test_any_step_is_a_place_to_go_on_from(
    base: TrainingBase, whole: TrainingResult, tmp_path: Path, step: int
) -> None:
    with pytest.raises(KilledError):
        train(base, tmp_path, stop_at=step)
    assert same_weights(train(base, tmp_path), whole)


def test_a_kill_while_an_epoch_or_the_result_is_kept_loses_nothing(
    base: TrainingBase, whole: TrainingResult, tmp_path: Path
) -> None:
    """Half-written neighbours of what counts: they are looked at by nothing, and replaced."""
    with pytest.raises(KilledError):
        train(base, tmp_path, stop_at=8)
    checkpoints = tmp_path / CHECKPOINTS_FOLDER
    for name in ("epoch-3.partial", "epoch-3"):
        (checkpoints / name).mkdir()
        (checkpoints / name / "adapter_model.safetensors").write_bytes(b"half")
    (checkpoints / "state.safetensors.partial").write_bytes(b"half")
    (tmp_path / "adapter.partial").mkdir()
    (tmp_path / "result.json").write_text("{", encoding="utf-8")
    assert same_weights(train(base, tmp_path), whole)


def test_an_ended_run_is_handed_back_and_not_trained_again(base: TrainingBase, tmp_path: Path) -> None:
    first, events = train(base, tmp_path), list[TrainingEvent]()
    again = train(base, tmp_path, events=events)
    assert events == []
    assert again == first
    anew = Trainer(base, BUDGET).train(EXAMPLES, HELD_OUT, RECIPE, tmp_path, events.append, restart=True)
    assert [event for event in events if isinstance(event, EpochResult)]
    assert same_weights(anew, again)


def test_the_written_recipe_gives_the_same_adapter_again(
    base: TrainingBase, whole: TrainingResult, tmp_path: Path
) -> None:
    recipe = read_recipe(whole.adapter.parent / "recipe.toml")
    assert same_weights(train(base, tmp_path, recipe), whole)


def interrupted(base: TrainingBase, output: Path) -> Path:
    with pytest.raises(KilledError):
        train(base, output, stop_at=4)
    return output


def test_a_checkpoint_of_another_recipe_is_refused_and_says_which_key(base: TrainingBase, tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match=r"another run: learning_rate = 0.01 \(now 0.02\)") as caught:
        train(base, interrupted(base, tmp_path), replace(RECIPE, learning_rate=0.02))
    assert "--restart" in caught.value.hint
    assert is_interrupted(tmp_path)
    train(base, tmp_path, replace(RECIPE, prefix_budget_bytes=0))  # decides nothing


def test_a_checkpoint_of_other_rows_is_refused(base: TrainingBase, tmp_path: Path) -> None:
    trainer, folder = Trainer(base, BUDGET), interrupted(base, tmp_path)
    with pytest.raises(BadRequestError, match="another run: other training rows"):
        trainer.train(EXAMPLES[1:], HELD_OUT, RECIPE, folder)
    with pytest.raises(BadRequestError, match="another run: other validation rows"):
        trainer.train(EXAMPLES, HELD_OUT[1:], RECIPE, folder)


def test_a_checkpoint_of_another_base_is_refused(base: TrainingBase, tmp_path: Path) -> None:
    folder = interrupted(base, tmp_path / "run")
    other = tmp_path / "other.gguf"
    other.write_bytes(base.path.read_bytes() + b"\0")
    with pytest.raises(BadRequestError, match="another run: other base"):
        train(replace(base, path=other), folder)


def test_a_damaged_checkpoint_is_refused(base: TrainingBase, tmp_path: Path) -> None:
    state = interrupted(base, tmp_path) / CHECKPOINTS_FOLDER / "state.safetensors"
    whole_file = state.read_bytes()
    for damage in (b"", b"\x80\x04pickle", whole_file[: len(whole_file) // 2]):
        state.write_bytes(damage)
        with pytest.raises(BadRequestError, match="cannot be continued"):
            train(base, tmp_path)


def test_two_processes_do_not_train_in_one_folder(base: TrainingBase, tmp_path: Path) -> None:
    def tell(event: TrainingEvent) -> None:
        if isinstance(event, Estimate):
            train(base, tmp_path)

    with pytest.raises(BadRequestError, match="Another process is training"):
        Trainer(base, BUDGET).train(EXAMPLES, HELD_OUT, RECIPE, tmp_path, tell)


@pytest.mark.parametrize(("key", "value"), [("lora", "both"), ("base_bits", "int3"), ("checkpoint_seconds", -1.0)])
def test_a_wrong_choice_in_a_recipe_is_refused(tmp_path: Path, key: str, value: str | float) -> None:
    write_recipe(Recipe(), tmp_path / "recipe.toml")
    text = (tmp_path / "recipe.toml").read_text(encoding="utf-8").splitlines()
    lines = [f"{key} = {json.dumps(value)}" if line.startswith(f"{key} =") else line for line in text]
    (tmp_path / "recipe.toml").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError, match=key):
        read_recipe(tmp_path / "recipe.toml")


def test_four_bits_without_a_gpu_are_refused(base: TrainingBase) -> None:
    from adapters.training.quantised import quantise
    from config.errors import ModelError

    with pytest.raises(ModelError, match="needs a GPU"):
        quantise(base.model, torch.device("cpu"))
