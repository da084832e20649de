"""Process-wide switches of third-party libraries, set before they are imported: no telemetry, no hub, quiet waiting."""

import os

SWITCHES = {
    "ANONYMIZED_TELEMETRY": "False",  # Chroma
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",  # only `config.hub`, a child of its own, may look at the hub
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    # Spinning OpenMP threads of one library starve the other: two threads beside one busy process decode 0.6 tokens/s
    # by default and 26 with passive waiting. But a thread that sleeps at each of a decode step's many barriers is slow
    # to wake: a short spin first takes a brand's decode from 14 to 80 tokens/s on two idle cores.
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "1000",
}


def prepare_environment() -> None:
    """Set what the operator has not set otherwise. Call it before any heavy import and before spawning a child."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
