"""The frozen base in four bits, for bases that do not fit a GPU otherwise (QLoRA, arXiv 2305.14314).

transformers does not combine a GGUF file with a quantisation of its own, so the linear layers are replaced here, after
the file was read and before it moves to the GPU; the output layer and the embeddings stay as they are. PEFT puts its
LoRA layers onto bitsandbytes' ones by itself.

Not covered by our tests: they run without a GPU. What is served is the GGUF, not these four bits, so look at the proof
of parity that follows each training.
"""

import importlib
import importlib.util
from typing import Any

import torch

from config.errors import ModelError

BITS_LIBRARY = "bitsandbytes"


def quantise(model: Any, device: torch.device) -> None:
    """In place. Raises ModelError without a GPU or without bitsandbytes."""
    if device.type != "cuda":
        raise ModelError('base_bits = "nf4" needs a GPU; none is found.', 'Use base_bits = "full".')
    if importlib.util.find_spec(BITS_LIBRARY) is None:
        raise ModelError('base_bits = "nf4" needs bitsandbytes.', "pip install bitsandbytes")
    bits: Any = importlib.import_module(BITS_LIBRARY)
    output_layer = model.get_output_embeddings()
    for name, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and layer is not output_layer:
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], _four_bits(bits, layer))
    model.is_loaded_in_4bit = True  # PEFT asks for it


def _four_bits(bits: Any, layer: torch.nn.Linear) -> torch.nn.Module:
    """The weights are quantised when they move to the GPU."""
    made: torch.nn.Module = bits.nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=torch.bfloat16,
        quant_type="nf4",
    )
    made.weight = bits.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
    if layer.bias is not None:
        made.bias = torch.nn.Parameter(layer.bias.data, requires_grad=False)
    return made
