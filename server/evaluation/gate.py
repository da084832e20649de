"""The regression gate: a TOML file of least values, one section for each system and one for refusals.

[fused]
"R@1" = 0.90
[refusal]
auroc = 0.75
"""

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import ConfigError
from server.evaluation.judging import SYSTEMS
from server.evaluation.measures import MEASURES, REFUSAL, Scores

LEAST = dict.fromkeys(SYSTEMS, MEASURES) | {"refusal": tuple(name for name in REFUSAL if name != "wrong")}
"""What may stand in each section. A share of wrong refusals has no least value; recall and precision say the same."""


@dataclass(frozen=True, slots=True)
class Gate:
    """least: by "section.measure"."""

    least: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """got is None where the questions cannot tell, which does not pass."""

    name: str
    least: float
    got: float | None


def read_gate(path: Path) -> Gate:
    """Raises ConfigError that names the key, its value and the nearest known key."""
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The gate {path} cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The gate {path} is not valid TOML: {error}.") from error
    least: dict[str, float] = {}
    for section, values in sections.items():
        known = LEAST[_known(section, LEAST, f"section [{section}] in {path}")]
        if not isinstance(values, dict):
            raise ConfigError(f"{section} in {path} is not a section.", f"Write it as [{section}] with keys below.")
        for key, value in values.items():
            name = f"{section}.{_known(key, known, f'measure {section}.{key} in {path}')}"
            least[name] = _share(name, value, path)
    if not least:
        raise ConfigError(f"The gate {path} demands nothing.", 'Write least values, such as [fused] "R@1" = 0.9.')
    return Gate(least)


def shortfalls(gate: Gate, scores: Scores) -> list[Shortfall]:
    """What falls short, in the gate's order."""
    found = []
    for name, least in gate.least.items():
        interval = scores.values[name]
        if interval is None or interval.value < least:
            found.append(Shortfall(name, least, interval.value if interval else None))
    return found


def _known(key: str, known: Any, what: str) -> str:
    if key in known:
        return key
    raise ConfigError(f"Unknown {what}.", f"Did you mean {difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]}?")


def _share(name: str, value: object, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1 or math.isnan(value):
        raise ConfigError(f"{name} = {value!r} in {path} is not a number from 0 to 1.")
    return float(value)
