"""The recipe of one training run: every number that decides its outcome, written beside the adapter it made."""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from config.errors import ConfigError
from config.fact_layout import FactLayout

Precision = Literal["auto", "float32", "bfloat16"]
Lora = Literal["activated", "plain"]
BaseBits = Literal["full", "nf4"]

RECIPE_FILE = "recipe.toml"
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of llama, qwen2, qwen3, mistral and gemma, by their names in transformers."""

COMMENTS = {
    "rank": "width of the LoRA matrices",
    "alpha": "the change is scaled by alpha / rank",
    "dropout": "share of the adapter's inputs that is dropped while training",
    "target_modules": "layers that get a LoRA pair",
    "lora": "activated: on from the last question, what stands before it shared by all brands; plain: on throughout",
    "fact_layout": "exact: sources are read in one piece; blocks: each alone, see docs/facts-once.md",
    "num_epochs": "passes over all rows",
    "batch_rows": "rows of one optimiser step",
    "learning_rate": "peak; about ten times what full fine-tuning takes",
    "warmup_share": "share of the steps over which the rate rises; it falls linearly to zero afterwards",
    "weight_decay": "of AdamW",
    "max_gradient_norm": "gradients above are scaled down to it",
    "patience": "epochs without a better validation loss before training stops; 0 never stops early",
    "shuffle_share": "share of the rows whose sources are put in another order, citations renumbered",
    "number_share": "share of the rows whose cited sources and answer get other numbers, so that reading is learned",
    "decision_weight": "how often the token counts where an answer parts from the refusal; 0 leaves it alone",
    "start_from": "PEFT folder of an adapter to go on from; empty starts fresh",
    "max_tokens": "a row longer than this is refused",
    "seed": "of initialisation, order and shuffles",
    "precision": "auto times float32 against bfloat16 on this machine and takes the faster",
    "base_bits": "full, or nf4: the frozen base in 4 bits (QLoRA), on a GPU with bitsandbytes installed",
    "prefix_budget_bytes": "memory for prefilled sources kept over epochs; beyond it they are computed again",
    "threads": "0: one for each core that the process may use",
    "checkpoint_seconds": "a killed run loses at most so much work; each epoch ends with a checkpoint too",
}
OUTCOME_FREE = ("prefix_budget_bytes", "checkpoint_seconds")
"""Fields that change how a run goes, but never its weights."""
CHOICES: dict[str, tuple[str, ...]] = {
    "precision": get_args(Precision),
    "lora": get_args(Lora),
    "fact_layout": get_args(FactLayout),
    "base_bits": get_args(BaseBits),
}

Limit = tuple[Callable[[float], bool], str]
POSITIVE: Limit = (lambda value: value > 0, "above zero")
COUNT: Limit = (lambda value: value >= 0, "zero or above")
PART: Limit = (lambda value: 0 <= value < 1, "between 0 and 1")
SHARE: Limit = (lambda value: 0 <= value <= 1, "from 0 to 1")
LIMITS = {
    **dict.fromkeys(("rank", "num_epochs", "batch_rows", "learning_rate", "alpha", "max_tokens"), POSITIVE),
    **dict.fromkeys(("decision_weight", "patience", "checkpoint_seconds", "prefix_budget_bytes", "threads"), COUNT),
    **dict.fromkeys(("dropout", "warmup_share"), PART),
    **dict.fromkeys(("shuffle_share", "number_share"), SHARE),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an adapter is trained; the meaning of each field stands in COMMENTS and in the written file."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    target_modules: tuple[str, ...] = ALL_LINEAR
    lora: Lora = "activated"
    fact_layout: FactLayout = "exact"
    num_epochs: int = 3
    batch_rows: int = 8
    learning_rate: float = 1e-3
    warmup_share: float = 0.1
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    patience: int = 0
    shuffle_share: float = 0.5
    number_share: float = 0.5
    decision_weight: float = 1.0
    start_from: str = ""
    max_tokens: int = 4_096
    seed: int = 0
    precision: Precision = "auto"
    base_bits: BaseBits = "full"
    prefix_budget_bytes: int = 4_000_000_000
    threads: int = 0
    checkpoint_seconds: float = 120.0

    def __post_init__(self) -> None:
        for name, (is_sound, what) in LIMITS.items():
            if not is_sound(getattr(self, name)):
                raise ConfigError(f"The recipe's {name} = {getattr(self, name)!r} is not {what}.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"The recipe's {name} = {getattr(self, name)!r} is none of {', '.join(choices)}.")
        if self.fact_layout != "exact" and self.lora == "plain":
            raise ConfigError(
                "A plain LoRA is on from the first token, so its sources cannot be computed once for all brands.",
                'Leave out fact_layout, or set lora = "activated".',
            )
        if not self.target_modules:
            raise ConfigError("The recipe's target_modules is empty.", f"Name some of {', '.join(ALL_LINEAR)}.")


def write_recipe(recipe: Recipe, path: Path) -> None:
    """As TOML, each line with its meaning. With `--recipe` and the same rows and base it gives the same adapter."""
    values = dataclasses.asdict(recipe)
    lines = [f"{name} = {_toml(value)}  # {COMMENTS[name]}" for name, value in values.items()]
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text("\n".join(["# housevoice training recipe", *lines, ""]), encoding="utf-8")
    partial.rename(path)


def read_recipe(path: Path) -> Recipe:
    """Missing keys keep their defaults. Raises ConfigError for an unknown key or a value of another kind."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The recipe {path} cannot be read: {error}.") from error
    defaults = dataclasses.asdict(Recipe())
    for name, value in given.items():
        if name not in defaults:
            nearest = difflib.get_close_matches(name, defaults, n=1, cutoff=0.0)[0]
            raise ConfigError(f"Unknown key {name} in {path}.", f"Did you mean {nearest}?")
        given[name] = _like(value, defaults[name], f"{name} in {path}")
    return Recipe(**given)


def _toml(value: object) -> str:
    """JSON's spelling of strings, numbers, booleans and lists of strings is TOML's too."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _like(value: Any, default: object, what: str) -> Any:
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(str(item) for item in value)
    if type(value) is not type(default):
        raise ConfigError(f"{what} = {value!r} is not valid.", f"It has the shape of {_toml(default)}.")
    return value
