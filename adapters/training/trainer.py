"""Training opened for use: a base, its prefilled prefixes, and runs in folders that only one process writes to."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from adapters.examples import Example
from adapters.training.base import TrainingBase, has_window, load_base
from adapters.training.checkpoint import read_state
from adapters.training.dataset import TrainingRow, build_rows
from adapters.training.prefixes import PrefixStore
from adapters.training.progress import OnProgress, TrainingResult, ignore
from adapters.training.recipe import RECIPE_FILE, Recipe, read_recipe
from adapters.training.run import CHECKPOINTS_FOLDER, Run
from adapters.vary import vary_examples
from config.errors import BadRequestError

LOCK_FILE = "run.lock"


def train_adapter(
    base: Path,
    examples: Sequence[Example],
    validation: Sequence[Example],
    recipe: Recipe,
    output: Path,
    on_progress: OnProgress = ignore,
    *,
    restart: bool = False,
) -> TrainingResult:
    """Train one adapter on the GGUF file `base`; see `Trainer.train`. For several on one base keep a `Trainer`."""
    chosen = recipe if restart else _with_known_precision(recipe, output)
    return Trainer.open(base, chosen).train(examples, validation, chosen, output, on_progress, restart=restart)


class Trainer:
    """One opened base and its prefilled prefixes, for any number of adapters one after the other. Not thread-safe."""

    def __init__(self, base: TrainingBase, prefix_budget_bytes: int) -> None:
        self._base = base
        self._prefixes = PrefixStore(base, prefix_budget_bytes)

    @classmethod
    def open(cls, base: Path, recipe: Recipe) -> "Trainer":
        """Precision, bits, threads and prefix budget are those of this recipe. Raises ModelError."""
        return cls(load_base(base, recipe.precision, recipe.threads, recipe.base_bits), recipe.prefix_budget_bytes)

    def train(
        self,
        examples: Sequence[Example],
        validation: Sequence[Example],
        recipe: Recipe,
        output: Path,
        on_progress: OnProgress = ignore,
        *,
        restart: bool = False,
    ) -> TrainingResult:
        """Write `output`/adapter (PEFT), checkpoints/epoch-N, recipe.toml, curve.jsonl and result.json.

        A run that was interrupted there goes on from its last checkpoint and ends with the same weights as an
        uninterrupted one; one that has ended is handed back as it is; `restart` begins anew. What another finished run
        left there is replaced. Raises BadRequestError for no examples, for rows that are too long, for fact blocks on a
        base that cannot be served so, and where the folder holds the checkpoint of another run or is written to by
        another process.
        """
        if not examples:
            raise BadRequestError("There are no examples to train on.", "training_file")
        if recipe.fact_layout != "exact" and has_window(self._base):
            raise BadRequestError(
                f"{self._base.path.name} looks back over a sliding window, so its sources are served in one piece.",
                "fact_layout",
                hint="Train with --fact-layout exact.",
            )
        varied = vary_examples(
            examples, shuffle_share=recipe.shuffle_share, number_share=recipe.number_share, seed=recipe.seed
        )
        rows, held_out = self._rows(varied, recipe), self._rows(validation, recipe)
        with _alone_in(output):
            return Run(self._base, self._prefixes, recipe, output, on_progress).train(rows, held_out, restart=restart)

    def _rows(self, examples: Sequence[Example], recipe: Recipe) -> tuple[TrainingRow, ...]:
        base = self._base
        return build_rows(
            examples,
            base.turn_format,
            base.encode,
            max_tokens=recipe.max_tokens,
            lora=recipe.lora,
            fact_layout=recipe.fact_layout,
        )


def _with_known_precision(recipe: Recipe, output: Path) -> Recipe:
    """Timing could choose otherwise the second time, so a run that goes on keeps what it began with."""
    if recipe.precision != "auto" or not (output / RECIPE_FILE).is_file():
        return recipe
    return replace(recipe, precision=read_recipe(output / RECIPE_FILE).precision)


def is_interrupted(output: Path) -> bool:
    """Whether a killed run in this folder can go on. Raises BadRequestError where its state cannot be read."""
    return read_state(output / CHECKPOINTS_FOLDER) is not None


@contextmanager
def _alone_in(output: Path) -> Iterator[None]:
    """The lock goes with the process, so a killed one leaves none."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOCK_FILE).open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadRequestError(
                f"Another process is training in {output}.", "out", hint="Wait for it, or choose another folder."
            ) from error
        yield
