"""A sentence-transformers model with weights and activations in int8, run by ONNX Runtime: built once, checked, kept.

`models.embedder = "int8:<any other source>"`. The model is exported as it is, its graph fused, and quantized
dynamically (Q8BERT, arXiv 1910.06188) with weights in seven bits, as processors without VNNI add pairs of products in
16 bits, which eight would overflow. A model that lost too much by it is refused.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from config.errors import ModelError
from ingest.documents import Vectors

LEAST_COSINE = 0.95
"""Between a probe's vector and that of the model in float32."""

VERSION = 1
"""Of what is built here; part of the file's name."""

PROBES = (
    "Full-time employees receive 26 days of paid annual leave in each calendar year.",
    "How long is the warranty?",
    "| Article | Price |\n| POD-12/XL | 31.50 EUR |\n| POD-28 | 55.00 EUR |",
    "Open the lower grille, turn both screws a quarter to the left, and clean the filter with a soft brush. " * 8,
    "Für Bestellungen über 1.250,00 € gilt eine Lieferzeit von 3-5 Werktagen.",
)
Ids = npt.NDArray[np.int64]
Forward = Callable[[Ids, Ids], Vectors]
"""(ids, mask), each of shape (batch, width), to unit vectors of shape (batch, dimensions)."""

logger = logging.getLogger(__name__)


def int8_forward(
    model: Any, identity: str, folder: Path, encode: Callable[[str], Sequence[int]]
) -> tuple[Forward, str]:
    """`model`: the SentenceTransformer; `folder`: where what is built is kept. Also a digest, as builds by different
    versions of the libraries may differ, and so must their identities. Raises ModelError.
    """
    import onnxruntime

    file = folder / f"{identity}-int8-v{VERSION}.onnx"
    if not file.exists():
        logger.warning("Building the int8 embedder %s, once; this takes a minute.", file.name)
        _build(model, file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the embedder runs batches side by side
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def forward(ids: Ids, mask: Ids) -> Vectors:
        result: Vectors = session.run(None, {"ids": ids, "mask": mask})[0]
        return result

    _check(model, forward, encode, file)
    return forward, hashlib.sha256(file.read_bytes()).hexdigest()[:8]


def _build(model: Any, file: Path) -> None:
    """Whole or not at all."""
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.transformers.optimizer import optimize_model
    except ImportError as error:
        raise ModelError(
            f"models.embedder begins with int8:, which needs the package onnx ({error}).",
            "pip install 'housevoice[int8]'",
        ) from error
    file.parent.mkdir(parents=True, exist_ok=True)
    plain, fused, part = (file.with_suffix(suffix) for suffix in (".plain", ".fused", ".part"))
    try:
        _export(model, plain)
        config = model[0].auto_model.config
        optimize_model(
            str(plain), "bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size
        ).save_model_to_file(str(fused))
        quantize_dynamic(
            fused,
            part,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        part.replace(file)
    finally:
        for path in (plain, fused, part):
            path.unlink(missing_ok=True)


def _export(model: Any, file: Path) -> None:
    import torch

    class Whole(torch.nn.Module):
        """All modules of the model, and unit length."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
            return torch.nn.functional.normalize(self.model(given)["sentence_embedding"], dim=1)

    transformer = model[0].auto_model
    attention = transformer.config._attn_implementation
    transformer.set_attn_implementation("eager")  # the one that the fusion knows
    ids = torch.ones(2, 16, dtype=torch.long)
    sizes = {0: "batch", 1: "width"}
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            torch.onnx.export(
                Whole().eval(),  # the export restores the mode that it found, for the model in it too
                (ids, torch.ones_like(ids)),
                str(file),
                input_names=["ids", "mask"],
                output_names=["vectors"],
                dynamic_axes={"ids": sizes, "mask": sizes},
                dynamo=False,
                opset_version=17,
            )
    finally:
        transformer.set_attn_implementation(attention)


def _check(model: Any, forward: Forward, encode: Callable[[str], Sequence[int]], file: Path) -> None:
    import torch

    for probe in PROBES:
        ids = np.array([list(encode(probe))], dtype=np.int64)
        mask = np.ones_like(ids)
        found = forward(ids, mask)[0]
        given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        with torch.inference_mode():
            wanted = model(given | {"token_type_ids": torch.zeros_like(given["input_ids"])})["sentence_embedding"]
        cosine = float(found @ torch.nn.functional.normalize(wanted.float(), dim=1)[0].numpy())
        if not cosine >= LEAST_COSINE:
            raise ModelError(
                f"The int8 embedder {file.name} is too far from its model: cosine {cosine:.3f} for {probe[:40]!r}.",
                "Remove int8: from models.embedder; if the file may be damaged, delete it, and it is built again.",
            )
