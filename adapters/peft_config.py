"""What a PEFT folder says of its LoRA: ranks and scales, and whether a GGUF LoRA can say the same.

The file comes from anywhere. A setting that changes the arithmetic and cannot be kept is refused by name, and so is one
that is set and not known here: it may change the arithmetic too.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import BadRequestError

# fmt: off
HARMLESS = frozenset((
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying",
    "ephemeral_gpu_offload", "eva_config", "exclude_modules", "inference_mode", "init_lora_weights",
    "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "megatron_core",
    "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config",
    "target_modules", "task_type", "use_rslora",
))
# fmt: on
"""Kept, folded, looked at below, or without a part in what the adapter computes."""
NAMED = {
    "use_dora": "DoRA",
    "alora_invocation_tokens": "aLoRA invocation tokens",
    "modules_to_save": "modules_to_save (trained embeddings or heads)",
}
BASE_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that take a part out of the base: the adapter alone does not fit the base that is served."""
LITERAL = re.compile(r"[\w.]+")
MAX_BYTES = 1_000_000
MAX_SCALE = 1e4


@dataclass(frozen=True, slots=True)
class PeftConfig:
    """rank and alpha: of the layers that no pattern names; the patterns go by the end of a layer's name."""

    rank: int
    lora_alpha: float
    is_rank_stabilised: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]

    @property
    def alpha(self) -> float:
        """As GGUF wants it: with alpha / rank it gives the scale of the layers that no pattern names."""
        return self.lora_alpha * math.sqrt(self.rank) if self.is_rank_stabilised else self.lora_alpha

    def rank_of(self, layer: str) -> int:
        return int(_of(layer, self.rank_pattern, self.rank))

    def scale_of(self, layer: str) -> float:
        """What PEFT multiplies this layer's b @ a by."""
        rank, alpha = self.rank_of(layer), _of(layer, self.alpha_pattern, self.lora_alpha)
        return alpha / math.sqrt(rank) if self.is_rank_stabilised else alpha / rank


def read_peft_config(folder: Path) -> PeftConfig:
    """Raises BadRequestError with the reason why this is no LoRA that GGUF can express."""
    values = _read(folder)
    _refuse_inexpressible(values)
    ranks, alphas = _pattern(values, "rank_pattern"), _pattern(values, "alpha_pattern")
    numbers = [values.get("r"), values.get("lora_alpha"), *ranks.values(), *alphas.values()]
    if not all(_is_scale(number) for number in numbers) or not all(
        isinstance(rank, int) for rank in (values["r"], *ranks.values())
    ):
        raise BadRequestError(f"The adapter in {folder} has ranks or alphas that are no sensible numbers: {numbers}.")
    return PeftConfig(values["r"], float(values["lora_alpha"]), bool(values.get("use_rslora")), ranks, alphas)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadRequestError(f"{path} is larger than {MAX_BYTES / 1e6:g} MB, which no configuration is.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadRequestError(f"{folder} is no PEFT adapter folder: {error}.") from error
    if not isinstance(values, dict) or values.get("peft_type") != "LORA":
        raise BadRequestError(f"The adapter in {folder} is not a LoRA.", hint="Train it with peft_type LORA.")
    return values


def _refuse_inexpressible(values: Mapping[str, Any]) -> None:
    used = [NAMED.get(name, name) for name, value in sorted(values.items()) if value and name not in HARMLESS]
    if values.get("bias", "none") != "none":
        used.append(f"bias = {values['bias']!r}")
    if used:
        raise BadRequestError(f"The adapter uses {', '.join(map(str, used))}, which GGUF LoRA cannot express.")
    start = str(values.get("init_lora_weights")).lower()
    if start.startswith(BASE_CHANGING) or values.get("loftq_config"):
        raise BadRequestError(
            f"The adapter was begun with init_lora_weights = {start!r}, which changes the base itself.",
            hint="Save it with path_initial_model_for_weight_conversion, which makes a plain LoRA of it.",
        )


def _pattern(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """PEFT takes keys as regular expressions; names of layers are enough, and cannot keep a server busy."""
    pattern = values.get(name) or {}
    if not isinstance(pattern, dict):
        raise BadRequestError(f"The adapter's {name} is no table.")
    odd = [key for key in pattern if not LITERAL.fullmatch(key)]
    if odd:
        raise BadRequestError(
            f"The adapter's {name} has the expression {odd[0][:80]!r}; only names of layers are read.",
            hint="Write the layers' names out.",
        )
    return pattern


def _of(layer: str, pattern: Mapping[str, float], default: float) -> float:
    """The first key that is the layer's name or its end behind a dot, as PEFT chooses."""
    found = (value for key, value in pattern.items() if layer == key or layer.endswith(f".{key}"))
    return next(found, default)


def _is_scale(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and 0 < number < MAX_SCALE
