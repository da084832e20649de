"""How the model's file is held in memory: engine.weights."""

from pathlib import Path

from config.errors import ModelError
from config.settings import Weights

LOAD_MODES: dict[Weights, int] = {"mapped": 1, "locked": 3, "loaded": 0}
"""LLAMA_LOAD_MODE_MMAP, _MMAP_MLOCK, _NONE. What the library's own choice (-1) would be is its business."""
STATUS = Path("/proc/self/status")


def refuse_unlocked(path: Path) -> None:
    """After loading with "locked", which the library gives up with a word in its log.

    Raises ModelError where less than the file is locked. Where the system does not tell, nothing is checked.
    """
    locked = _num_locked_bytes()
    size = path.stat().st_size
    if locked is not None and locked < size // 2:  # the embedding table may lie elsewhere
        raise ModelError(
            f"Only {locked / 1e6:.0f} of the {size / 1e6:.0f} MB of {path.name} could be locked in memory.",
            "Allow it (ulimit -l unlimited; LimitMEMLOCK=infinity under systemd; --ulimit memlock=-1 with Docker), or"
            ' set engine.weights = "mapped".',
        )


def _num_locked_bytes() -> int | None:
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmLck:")), None)
