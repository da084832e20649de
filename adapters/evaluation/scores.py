"""What was found of each version, kept beside its card: versions never change, but they may be asked more than once."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapters.evaluation.gate import Decision
from adapters.evaluation.measures import System
from adapters.evaluation.run import CANDIDATE, Evaluation
from adapters.evaluation.statistics import Difference, Interval
from config.files import write_atomically

SCORES_FILE = "scores.json"
MAX_KEPT = 20

Scores = Mapping[str, Any]
"""One evaluation in figures, as JSON values. Shown to people and compared by them, never acted on."""


def scores_of(evaluation: Evaluation, decision: Decision) -> Scores:
    """Shares from 0 to 1 with their intervals; no question and no answer is in it."""
    subject, leak, ability, gap = evaluation.subject, evaluation.leak, evaluation.ability, evaluation.gap
    return {
        "version": subject.candidate,
        "made_unix_seconds": int(time.time()),
        "heldout": subject.heldout,
        "heldout_sha256": subject.heldout_sha256,
        "fact_layout": subject.fact_layouts.get(CANDIDATE),
        "fact_layouts": dict(subject.fact_layouts),
        "num_questions": len(evaluation.questions),
        "systems": {name: _system(system) for name, system in evaluation.systems.items()},
        "against": {
            other: {name: _range(found) for name, found in by_measure.items()}
            for other, by_measure in evaluation.against.items()
        },
        "style_separation": evaluation.styles.separation if evaluation.styles else None,
        "macro_f1": {name: _range(found.macro_f1) for name, found in evaluation.confusions.items()},
        "leak": {"version": _range(leak.version), "base": _range(leak.base)} if leak else None,
        "ability": {"base": _range(ability.before), "version": _range(ability.after)} if ability else None,
        "gap": {name: _range(more) for name, more in gap.more.items()} if gap else None,
        "passes": decision.passes,
        "failed": [str(check) for check in decision.failed],
        "not_measured": [str(check) for check in decision.untold],
    }


def keep_scores(folder: Path, scores: Scores) -> None:
    """folder: the version's own. The newest goes last, and beyond MAX_KEPT the oldest are dropped."""
    kept = [*read_scores(folder), dict(scores)][-MAX_KEPT:]
    write_atomically(folder / SCORES_FILE, json.dumps(kept, ensure_ascii=False, indent=1) + "\n")


def read_scores(folder: Path) -> list[dict[str, Any]]:
    """Oldest first; empty for a version that was never evaluated, or whose file is damaged."""
    try:
        kept = json.loads((folder / SCORES_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [item for item in kept if isinstance(item, dict)] if isinstance(kept, list) else []


def _system(system: System) -> dict[str, Any]:
    return {"model": system.model, **{name: _range(found) for name, found in system.scores.items()}}


def _range(found: Interval | Difference | None) -> dict[str, float | int] | None:
    if found is None:
        return None
    return {
        "value": round(found.value, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "num": found.num,
    }
