"""The LoRA layers themselves: put into the model, switched off, saved. The one place that knows PEFT."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file

from adapters.training.base import TrainingBase
from adapters.training.recipe import Recipe
from config.errors import BadRequestError


def with_adapter(base: TrainingBase, recipe: Recipe) -> Any:
    """Put fresh LoRA layers into the model, in float32 even where the base is bfloat16."""
    present = {name.rpartition(".")[2] for name, _ in base.model.named_modules()}
    missing = sorted(set(recipe.target_modules) - present)
    if missing:
        raise BadRequestError(f"The base has no layers named {', '.join(missing)}.", hint="Mend target_modules.")
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(recipe.target_modules),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # peft asks transformers by an old name
        model = get_peft_model(base.model, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if recipe.start_from:
        try:
            _load_weights(model, Path(recipe.start_from))
        except BadRequestError:
            model.unload()
            raise
    return model.train()


def _load_weights(model: Any, folder: Path) -> None:
    """Go on from an adapter of the same shape. Only safetensors are read: a pickle could run code."""
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise BadRequestError(
            f"{file} does not exist.", "start_from", hint="Name the adapter folder of a finished run."
        )
    weights = load_file(file)
    wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
    misfits = [name for name, tensor in wanted.items() if name not in weights or weights[name].shape != tensor.shape]
    if misfits or len(weights) != len(wanted):
        raise BadRequestError(
            f"{folder} has other layers or another rank than this recipe ({len(misfits)} of {len(wanted)} differ).",
            "start_from",
        )
    set_peft_model_state_dict(model, weights)


def save_adapter(model: Any, base: TrainingBase, folder: Path) -> None:
    """Without a look at the hub, and with the base's file name in place of this machine's path."""
    model.peft_config["default"].base_model_name_or_path = base.path.name
    model.save_pretrained(str(folder), save_embedding_layers=False)


@contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """The base alone for the length of the block; does nothing where no adapter is in, or where it is off already."""
    layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer) and not m.disable_adapters]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
