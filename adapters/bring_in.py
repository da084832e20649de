"""An adapter that was made elsewhere: a PEFT folder or a GGUF file, through the same checks as one of our own.

Pickled weights are never read. What the file says of its origin must agree with the base; what says nothing is judged
by names, shapes and values alone, and its card says that it is foreign.
"""

import hashlib
import json
from pathlib import Path

from adapters.convert import convert_adapter
from adapters.gguf_check import check_adapter
from adapters.lora_header import LORA_KEY, PLAIN
from adapters.registry import Card
from adapters.training.recipe import Lora
from config.errors import BadRequestError
from config.fact_layout import FactLayout
from config.gguf_header import read_header
from config.models import ModelFile

ORIGIN_KEYS = ("base_model_name_or_path", "r", "lora_alpha", "target_modules", "peft_version")


def bring_in(
    source: Path,
    brand: str,
    base: ModelFile,
    work: Path,
    lora: Lora = "activated",
    fact_layout: FactLayout = "exact",
) -> tuple[Path, Card]:
    """A checked GGUF file, ready for `Registry.register`, and its card. `work`: where a converted one is written.

    lora: where a converted one is to be on; a GGUF file says so itself, and counts as activated where it does not.
    fact_layout: in which it was trained to read its sources, which no file says. Raises BadRequestError with the reason
    why it cannot be used.
    """
    source = source.expanduser()
    if source.is_dir():
        card: dict[str, object] = {"imported_from": "PEFT", "lora": lora, **_peft_origin(source)}
        gguf = convert_adapter(source, base.path, base.sha256, brand, work / "adapter.gguf", lora)
    elif source.is_file():
        card = {"imported_from": "GGUF", "file_sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
        gguf = source
    else:
        raise BadRequestError(f"There is no {source}.", "adapter", hint="Name a PEFT folder or a GGUF file.")
    check_adapter(gguf, base.path, base.sha256)
    if fact_layout != "exact" and read_header(gguf).text(LORA_KEY) == PLAIN:
        raise BadRequestError(
            "An adapter that is on from the first token reads its sources in one piece.",
            "fact_layout",
            hint="Leave out --fact-layout.",
        )
    return gguf, {"base_name": base.name, "fact_layout": fact_layout, **card}


def _peft_origin(folder: Path) -> dict[str, object]:
    """For people; `convert_adapter` decides by the same file whether it can be used."""
    try:
        values = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequestError(f"{folder} is no PEFT adapter folder: {error}.", "adapter") from error
    return {key: values[key] for key in ORIGIN_KEYS if isinstance(values, dict) and key in values}
