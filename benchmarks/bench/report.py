"""Samples as a page of Markdown and one of HTML with plots. The HTML loads nothing, runs no scripts, and everything
that came from files or systems is escaped.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from benchmarks.bench.plot import Plot, Points, draw
from benchmarks.bench.samples import Sample
from benchmarks.bench.statistics import median, percentile
from benchmarks.bench.systems import HOUSEVOICE, LLAMA, LLAMA_PLAIN
from benchmarks.bench.targets import Outcome, judge
from benchmarks.bench.workloads import COLD, STREAMS, WARM

FOLDER = Path(__file__).parent
TEMPLATE = FOLDER / "report.html"
QUALITY = FOLDER.parent / "results" / "quality-by-mode.json"
"""From whoever measures answers: a list of {"name", "mode", "share", "low", "high", "num"}, shares from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Row:
    """Of one workload, case and size: one system. Times in seconds."""

    workload: str
    case: str
    size: int
    system: str
    num: int
    num_prompt: int
    cached: float
    first: float
    first_p95: float
    rate: float
    gap: float


@dataclass(frozen=True, slots=True)
class Equal:
    """How many answers of a peer are housevoice's, word for word, of those with the same prompt."""

    workload: str
    case: str
    system: str
    num_equal: int
    num: int


@dataclass(frozen=True, slots=True)
class Quality:
    """Contained answers of one reader in one mode; shares from 0 to 1."""

    name: str
    mode: str
    share: float
    low: float
    high: float
    num: int


@dataclass(frozen=True, slots=True)
class ModelResult:
    name: str
    outcomes: tuple[Outcome, ...]
    rows: tuple[Row, ...]
    equals: tuple[Equal, ...]
    plots: tuple[Plot, ...]
    num_rounds: int
    loads: tuple[float, float]
    stolen: tuple[float, float]

    @property
    def machine(self) -> str:
        """What else went on. stolen: median and largest share of the processors' time."""
        loads = f"load average {self.loads[0]:.1f} to {self.loads[1]:.1f}"
        stolen = f"{100 * self.stolen[0]:.0f} %, at most {100 * self.stolen[1]:.0f} %"
        return f"{loads} while it ran; of the processors' time the host gave to others {stolen}"


@dataclass(frozen=True, slots=True)
class Run:
    """What a report is made of. notes: conditions and settings, one a line."""

    title: str
    samples: tuple[Sample, ...]
    notes: tuple[str, ...]
    qualities: tuple[Quality, ...] = ()


def page(run: Run) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(run=run, models=_results(run.samples))


def markdown(run: Run) -> str:
    parts = [f"# {run.title}"]
    for result in _results(run.samples):
        parts += [
            f"## {result.name}",
            f"{result.num_rounds} rounds; {result.machine}.",
            table(("target", "bound", "measured (95 %)", ""), [_outcome_cells(item) for item in result.outcomes]),
            table(_ROW_HEAD, [_row_cells(row) for row in result.rows]),
            table(("answers equal to housevoice's", "", "of"), [_equal_cells(item) for item in result.equals]),
        ]
    if run.qualities:
        cells = [(q.name, q.mode, f"{q.share:.3f} ({q.low:.3f} to {q.high:.3f})", str(q.num)) for q in run.qualities]
        parts += ["## Quality by mode", table(("reader", "mode", "contained answers", "questions"), cells)]
    return "\n\n".join([*parts, "\n".join(run.notes)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown; a cell cannot break out of its row."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def read_quality(path: Path = QUALITY) -> tuple[Quality, ...]:
    """Empty where nobody measured it. Raises SystemExit for a file of another form."""
    if not path.exists():
        return ()
    try:
        return tuple(Quality(**row) for row in json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise SystemExit(f"{path} is not a list of qualities by mode: {error}.") from error


def rows_of(samples: Sequence[Sample]) -> list[Row]:
    """In the order in which they were first measured."""
    groups: dict[tuple[str, str, int, str], list[Sample]] = {}
    for item in samples:
        groups.setdefault((item.workload, item.case, item.size, item.system), []).append(item)
    return [_row(*key, group) for key, group in groups.items()]


def equals_of(samples: Sequence[Sample]) -> list[Equal]:
    ours = {item.turn: item for item in samples if item.system == HOUSEVOICE}
    counts: dict[tuple[str, str, str], tuple[int, int]] = {}
    for item in samples:
        own = ours.get(item.turn)
        if item.system == HOUSEVOICE or own is None:
            continue
        key = (item.workload, item.case, item.system)
        same = sum(one == other for one, other in zip(item.answers, own.answers, strict=True))
        before = counts.get(key, (0, 0))
        counts[key] = (before[0] + same, before[1] + len(item.answers))
    return [Equal(*key, *found) for key, found in counts.items()]


def plots_of(samples: Sequence[Sample]) -> list[Plot]:
    rows = rows_of(samples)
    first = _series([row for row in rows if row.workload == WARM], lambda row: (row.num_prompt, row.first))
    ours = [row for row in rows if row.workload == COLD and row.system == HOUSEVOICE]
    first |= {f"{HOUSEVOICE}, new sources": [(row.num_prompt, row.first) for row in ours]}
    rates = _series([row for row in rows if row.workload == STREAMS], lambda row: (row.size, row.rate))
    drawn = (
        draw("Time to the first token over context length", "prompt tokens", "seconds, p50", first, is_log=True),
        draw("Throughput over streams at once", "streams", "tokens/s, all together", rates),
    )
    return [plot for plot in drawn if plot]


def _series(rows: Sequence[Row], point: Callable[[Row], tuple[float, float]]) -> dict[str, Points]:
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault(row.system, []).append(point(row))
    order = [HOUSEVOICE, LLAMA, LLAMA_PLAIN]
    names = sorted(found, key=lambda name: order.index(name) if name in order else len(order))
    return {name: found[name] for name in names}


def _results(samples: Sequence[Sample]) -> list[ModelResult]:
    names = dict.fromkeys(item.model for item in samples)
    return [_result(name, [item for item in samples if item.model == name]) for name in names]


def _result(name: str, samples: Sequence[Sample]) -> ModelResult:
    loads = [item.load_average for item in samples]
    stolen = [item.stolen_share for item in samples]
    return ModelResult(
        name,
        tuple(judge(samples)),
        tuple(rows_of(samples)),
        tuple(equals_of(samples)),
        tuple(plots_of(samples)),
        len({item.round for item in samples}),
        (min(loads), max(loads)),
        (median(stolen), max(stolen)),
    )


def _row(workload: str, case: str, size: int, system: str, group: Sequence[Sample]) -> Row:
    first = [item.first_seconds for item in group]
    prompt = sum(item.num_prompt for item in group)
    is_one = size == 1 or len(group[0].answers) == 1
    return Row(
        workload,
        case,
        size,
        system,
        len(group),
        round(median([item.num_prompt for item in group])),
        sum(item.num_cached for item in group) / prompt if prompt else 0.0,
        median(first),
        percentile(first, 95),
        median([item.decode_rate if is_one and item.num_tokens > 1 else item.tokens_per_second for item in group]),
        median([item.gap_seconds for item in group]),
    )


_ROW_HEAD = ("workload", "case", "size", "system", "n", "prompt", "cached", "TTFT p50 s", "p95", "tokens/s", "gap ms")


def _row_cells(row: Row) -> tuple[str, ...]:
    return (
        row.workload,
        row.case,
        str(row.size),
        row.system,
        str(row.num),
        f"{row.num_prompt:,}",
        f"{100 * row.cached:.0f} %",
        f"{row.first:.3f}",
        f"{row.first_p95:.3f}",
        f"{row.rate:.1f}",
        f"{1000 * row.gap:.0f}",
    )


def _outcome_cells(outcome: Outcome) -> tuple[str, ...]:
    sign = "at most" if outcome.target.is_most else "at least"
    measured = str(outcome.ratio) if outcome.ratio else "-"
    return outcome.target.title, f"{sign} {outcome.target.bound:g}", measured, outcome.verdict


def _equal_cells(item: Equal) -> tuple[str, ...]:
    return f"{item.workload} {item.case}, {item.system}", str(item.num_equal), str(item.num)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def as_notes(values: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(f"- {name}: {value}" for name, value in values.items())
