"""Read an example set, look through it, mend what needs no judgement, and freeze the split."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.curation.checks import MENDED, Finding, check_rows
from adapters.curation.rows import SPLIT, Row, read_rows, write_rows
from adapters.examples import RowProblem
from config.brands import Brand
from config.errors import BadRequestError

SPLIT_FILE, CLEAN_FILE = "split.json", "examples.jsonl"


@dataclass(frozen=True, slots=True)
class Curated:
    """kept: what is left when the rows that need no judgement are out. problems: rows that could not be read."""

    rows: tuple[Row, ...]
    problems: tuple[RowProblem, ...]
    findings: tuple[Finding, ...]
    kept: tuple[Row, ...]

    @property
    def must_stop(self) -> bool:
        """Something is left for which this set must not be trained on. Leaks are mended, so they do not count."""
        return any(finding.is_stop and finding.kind not in MENDED for finding in self.findings)

    @property
    def counts(self) -> Counter[str]:
        """Findings by kind."""
        return Counter(str(finding.kind) for finding in self.findings)


def curate(examples: Path, held_out: Path | None, brand: Brand | None, held_out_share: float, seed: int) -> Curated:
    """held_out: a file of its own, whose rows are all held out; their lines count on from the examples' last one.

    held_out_share: of rows that name no split, by a hash of what they ask, so that a row stays on its side when others
    come or go. Raises BadRequestError for files that cannot be read, or hold no usable row.
    """
    rows, problems = read_rows(examples)
    rows = [_with_split(row, held_out_share, seed) for row in rows]
    if held_out is not None:
        more_rows, more_problems = read_rows(held_out)
        start = max((row.line for row in rows), default=0)
        rows += [Row(start + row.line, {**row.value, SPLIT: "heldout"}) for row in more_rows]
        problems += [replace(problem, line=start + problem.line) for problem in more_problems]
    if not rows:
        reason = problems[0].reason if problems else "it is empty"
        raise BadRequestError(f"{examples} has no usable rows: {reason}.", "examples")
    findings = check_rows(rows, brand)
    out = {finding.line for finding in findings if finding.kind in MENDED}
    return Curated(tuple(rows), tuple(problems), tuple(findings), tuple(row for row in rows if row.line not in out))


def write_curated(curated: Curated, folder: Path) -> Path:
    """examples.jsonl with the kept rows, and split.json, which freezes who is held out.

    Raises BadRequestError where a row that an earlier split.json holds out is in training now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sides = {_key(row): row.split for row in curated.kept}
    _refuse_moved(folder / SPLIT_FILE, sides)
    write_rows(folder / CLEAN_FILE, curated.kept)
    frozen = {
        "sha256": hashlib.sha256((folder / CLEAN_FILE).read_bytes()).hexdigest(),
        "num_train": sum(side == "train" for side in sides.values()),
        "held_out": sorted(key for key, side in sides.items() if side != "train"),
    }
    (folder / SPLIT_FILE).write_text(json.dumps(frozen, indent=1) + "\n", encoding="utf-8")
    return folder / CLEAN_FILE


def _refuse_moved(file: Path, sides: dict[str, str]) -> None:
    if not file.exists():
        return
    before = json.loads(file.read_text(encoding="utf-8"))["held_out"]
    moved = [key for key in before if sides.get(key) == "train"]
    if moved:
        raise BadRequestError(
            f"{len(moved)} rows that {file} holds out are in training now.",
            "split",
            hint="Put them back, or delete that file and measure everything anew.",
        )


def _with_split(row: Row, share: float, seed: int) -> Row:
    if SPLIT in row.value or not share:
        return row
    place = int(hashlib.sha256(f"{seed}\n{row.conversation}".encode()).hexdigest()[:8], 16) / 16**8
    return Row(row.line, {**row.value, SPLIT: "heldout" if place < share else "train"})


def _key(row: Row) -> str:
    """Of what a row asks: its answer may be edited without moving it."""
    return hashlib.sha256(row.conversation.encode()).hexdigest()[:16]
