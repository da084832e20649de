"""What PEFT says of the same prompts: the reference that a converted adapter is measured against.

Computed by PEFT from the folder that was converted, and by transformers' own attention and cache: nothing of our
training loop or of our converter takes part, so a mistake in either shows.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from transformers import DynamicCache

from adapters.training.adapter import adapter_off
from adapters.training.base import choose_device, load_model

Rows = NDArray[np.float32]


def reference_rows(base: Path, peft_folder: Path, prompts: Sequence[tuple[tuple[int, ...], int]]) -> tuple[Rows, Rows]:
    """Logits after each prompt's last token, of the base and with the adapter; each of shape (prompts, vocabulary).

    prompts: token ids, and the index from which the adapter is on. The base is in float32. Only call it for a folder
    that `adapters.peft_config` accepted: PEFT trusts what it reads.
    """
    device = choose_device()
    opened = load_model(base, torch.float32).to(device)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # peft asks transformers by an old name
        model = PeftModel.from_pretrained(opened, str(peft_folder)).eval()
    with torch.no_grad():
        with adapter_off(model):
            plain = np.stack([last_logits(model, tokens, boundary, device) for tokens, boundary in prompts])
        adapted = np.stack([last_logits(model, tokens, boundary, device) for tokens, boundary in prompts])
    return plain, adapted


def last_logits(model: Any, tokens: tuple[int, ...], boundary: int, device: torch.device) -> Rows:
    """Of one prompt, shape (vocabulary,): the base computes what stands before `boundary`, the adapter is on behind."""
    cache = DynamicCache()
    if boundary:
        with adapter_off(model):
            model(input_ids=torch.tensor([tokens[:boundary]], device=device), past_key_values=cache, use_cache=True)
    ids = torch.tensor([tokens[boundary:]], device=device)
    logits: Rows = model(input_ids=ids, past_key_values=cache, use_cache=True).logits[0, -1].float().cpu().numpy()
    return logits
