"""What the engine may keep on disk."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EngineStorage:
    """facts: the folder for computed sources. base_sha256: hash of the model that computes them.

    step_times: the file of measured step times (`server.engine.steptrial`); None: they are not measured.
    weights: the folder for copies of the model (`server.engine.requantise`); None: there are none.
    """

    facts: Path
    base_sha256: str
    step_times: Path | None = None
    weights: Path | None = None
