"""`housevoice adapter evaluate` and `promote`: held-out questions, figures with intervals, a gate, a report."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from adapters.evaluation.ability import Item, ability_items
from adapters.evaluation.gate import Decision, decide
from adapters.evaluation.measures import MEASURES
from adapters.evaluation.questions import read_questions
from adapters.evaluation.report import render_report
from adapters.evaluation.run import ACTIVE, BASE, CANDIDATE, Evaluation, Plan, Subject, evaluate
from adapters.evaluation.scores import Scores, scores_of
from config.brands import Brand
from config.errors import BadRequestError, ModelError, NotFoundError
from config.fact_layout import FactLayout, layout_named, slower_of
from config.models import resolve_base
from config.settings import Settings
from server.cli.asking import ServerAsks
from server.cli.connection import Server, brand_of, require_server
from server.cli.console import errors_for_people, note, out, plain, say


class Part(StrEnum):
    """What can be left out of an evaluation."""

    LEAKS = "leaks"
    ABILITY = "ability"


Train = Annotated[
    Path | None,
    typer.Option("--train", help="The rows it was trained on: for the overfitting gap, the style and leaked facts."),
]
Html = Annotated[Path | None, typer.Option(help="Write a report for people here.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Ask only the first N questions; such scores are not kept.")]
Streams = Annotated[int, typer.Option(min=1, max=64, help="Questions under way at a time.")]
Split = Annotated[str, typer.Option(help="Which split of a file of pairs to ask.")]


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person asked for, beyond the version and the file."""

    train: Path | None = None
    html: Path | None = None
    json_out: Path | None = None
    details: Path | None = None
    limit: int | None = None
    streams: int = 4
    split: str = "heldout"
    skip: tuple[Part, ...] = ()
    promotes: bool = False


def evaluate_adapter(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="brand@number, or brand for its active version.")],
    heldout: Annotated[Path, typer.Argument(help="Held-out rows, or the brand's file of pairs.")],
    train: Train = None,
    html: Html = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write all figures here.")] = None,
    details: Annotated[Path | None, typer.Option(help="Write every answer with its verdicts here (JSONL).")] = None,
    limit: Limit = None,
    split: Split = "heldout",
    skip: Annotated[list[Part] | None, typer.Option(help="Leave a part out; may be repeated.")] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Activate it if the gate passes.")] = False,
    streams: Streams = 4,
) -> None:
    """Ask the held-out questions through the running server and compare with the base under its best prompt.

    The active version is asked too where it is another one. Form, style, citations, grounded sentences, facts,
    refusals; facts told without documents; general ability before and after. Whether that is enough is decided by the
    thresholds under \\[gate] in the brand's file.

    Exit code 0: the gate passed; 1: it did not, and what failed is listed; 2: could not run.
    """
    choices = Choices(train, html, json_out, details, limit, streams, split, tuple(skip or ()), promote)
    raise typer.Exit(_run(context.obj, model, heldout, choices))


def promote_adapter(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="brand@number.")],
    heldout: Annotated[Path, typer.Option("--heldout", help="Held-out rows, or the brand's file of pairs.")],
    train: Train = None,
    html: Html = None,
    limit: Limit = None,
    streams: Streams = 4,
) -> None:
    """Evaluate a version and make it the brand's voice if it passes the gate; otherwise nothing changes.

    The same as [bold]evaluate --promote[/]. [bold]activate[/] puts a version to work without asking.

    Exit code 0: active now; 1: the gate did not pass, and what failed is listed; 2: could not run.
    """
    choices = Choices(train=train, html=html, limit=limit, streams=streams, promotes=True)
    raise typer.Exit(_run(context.obj, version, heldout, choices))


def last_scores(row: Mapping[str, Any]) -> str:
    """For `adapter list`: the newest evaluation of a version in a few words, "-" for none that can be read."""
    try:
        newest = row["scores"][-1]
        form = newest["systems"][CANDIDATE]["form"]
        shown = f"form {form['value']:.0%}, " if form else ""
        layout = f", sources {newest['fact_layout']}" if newest.get("fact_layout") else ""
        return f"{shown}{newest['num_questions']} asked, gate {'passed' if newest['passes'] else 'failed'}{layout}"
    except (KeyError, IndexError, TypeError, ValueError):
        return "-"


def _run(settings: Settings, model: str, heldout: Path, choices: Choices) -> int:
    with errors_for_people():
        server = require_server(settings)
        brand = brand_of(settings, model.partition("@")[0])
        subject = _subject(server, brand, model, heldout)
        plan = _plan(brand, heldout, choices, _items(server, settings, choices))
        found = evaluate(ServerAsks(server, settings, choices.streams), subject, plan)
        decision = decide(found)
        scores = scores_of(found, decision)
        print_evaluation(found)
        print_decision(decision)
        _write_all(found, decision, scores, choices)
        _keep(server, subject, scores, choices)
        if choices.promotes and decision.passes:
            server.post("/api/adapters/activate", {"version": subject.candidate})
    _conclude(subject, decision, choices)
    return 0 if decision.passes else 1


def _items(server: Server, settings: Settings, choices: Choices) -> tuple[Item, ...]:
    """General ability is asked in the base's own tokens, so its file must be here too; beside a server elsewhere it
    may be absent."""
    if Part.ABILITY in choices.skip:
        return ()
    try:
        if resolve_base(settings).sha256 == server.get("/api/status")["base"]["sha256"]:
            return ability_items()
        note("General ability is not measured: the server has another base than models.base names here.")
    except ModelError as error:
        note(f"General ability is not measured: {plain(error)}")
    return ()


def _subject(server: Server, brand: Brand, model: str, heldout: Path) -> Subject:
    rows = server.get("/api/adapters", brand=brand.name)["adapters"]
    by_name = {row["name"]: row for row in rows}
    active = next((row["name"] for row in rows if row["is_active"]), None)
    candidate = model if "@" in model else active
    if candidate is None or candidate not in by_name:
        asked = f"There is no adapter {model!r}." if "@" in model else f"{brand.name} has no active adapter."
        raise NotFoundError(
            asked,
            "adapter_not_found",
            f"Name one of: {', '.join(by_name) or 'none yet; train one with housevoice adapter train'}.",
        )
    try:
        sha256 = hashlib.sha256(heldout.read_bytes()).hexdigest()
    except OSError as error:
        raise BadRequestError(f"{heldout} cannot be read ({error.strerror}).", "heldout") from error
    in_use = active if brand.adapter == "active" else brand.adapter
    others = None if in_use in (candidate, "none") else in_use
    status = server.get("/api/status")
    layouts = {CANDIDATE: _layout(status, by_name[candidate]), BASE: layout_named(status.get("base_fact_layout"))}
    if others in by_name:
        layouts[ACTIVE] = _layout(status, by_name[others])
    return Subject(brand, candidate, others, heldout.name, sha256, by_name[candidate]["card"], layouts)


def _layout(status: Mapping[str, Any], row: Mapping[str, Any]) -> FactLayout:
    """How the server reads this version's sources now."""
    return slower_of(layout_named(status["engine"]["facts"]["layout"]), layout_named(row.get("fact_layout")))


def _plan(brand: Brand, heldout: Path, choices: Choices, items: tuple[Item, ...]) -> Plan:
    return Plan(
        questions=read_questions(heldout, brand, choices.split)[: choices.limit],
        training=read_questions(choices.train, brand, "train") if choices.train else (),
        items=items,
        tests_leaks=Part.LEAKS not in choices.skip,
    )


def print_evaluation(found: Evaluation) -> None:
    systems = list(found.systems.values())
    table = Table(box=None, pad_edge=False)
    table.add_column("Measure", no_wrap=True)
    for system in systems:
        table.add_column(f"{plain(system.name)}\n{plain(system.model)}", no_wrap=True)
    table.add_column("against\nthe base", no_wrap=True)
    for name, measure in MEASURES.items():
        cells = [*(system.scores[name] for system in systems), found.against[BASE][name]]
        if any(cells):
            table.add_row(measure.title, *(str(cell or "-").replace(" (", "\n(") for cell in cells))
    out.print(table)
    for line in _remarks(found):
        say(line)
    note("Shares of questions with 95 % intervals; differences in points, paired by question.")


def _remarks(found: Evaluation) -> list[str]:
    layouts = found.subject.fact_layouts
    lines = (
        [f"sources were read: {', '.join(f'{name}: {layout}' for name, layout in layouts.items())}"] if layouts else []
    )
    for name, confused in found.confusions.items():
        lines.append(f"{name}: accuracy {confused.accuracy}, macro-F1 {confused.macro_f1}")
    if found.styles and not found.styles.can_tell:
        lines.append(f"style: the base already writes like the brand (told apart {found.styles.separation:.0%})")
    if leak := found.leak:
        lines.append(f"facts told without documents: {leak.version}, by the base {leak.base}")
    if ability := found.ability:
        lines.append(f"general ability: {ability.after}, of the base {ability.before}")
    if gap := found.gap:
        shown = [f"{MEASURES[name].title} {more}" for name, more in gap.more.items() if more]
        lines.append(f"training rows above held-out ones, in points: {', '.join(shown)}")
    return lines


def print_decision(decision: Decision) -> None:
    for check in decision.failed:
        say(f"[bold red]gate:[/] {plain(check)}")
    for check in decision.untold:
        note(f"gate: not measured: {plain(check.name)}")


def _conclude(subject: Subject, decision: Decision, choices: Choices) -> None:
    name = plain(subject.candidate)
    if not decision.passes:
        say(f"[bold red]The gate did not pass[/]{'; nothing was activated' if choices.promotes else ''}.")
    elif choices.promotes:
        say(f"[bold green]The gate passed:[/] {name} is active.")
    else:
        say(f"[bold green]The gate passed.[/] Use it: housevoice adapter activate {name}")


def _write_all(found: Evaluation, decision: Decision, scores: Scores, choices: Choices) -> None:
    if choices.html:
        _write(choices.html, render_report(found, decision))
        say(f"Open in a browser: {plain(choices.html)}")
    if choices.json_out:
        _write(choices.json_out, json.dumps(scores, ensure_ascii=False, indent=1) + "\n")
    if choices.details:
        _write(choices.details, "\n".join(_details(found)) + "\n")


def _details(found: Evaluation) -> list[str]:
    return [
        json.dumps(
            {
                "system": name,
                "model": system.model,
                "id": item.question.id,
                "question": item.question.text,
                "answer": item.answer.text,
                "cited": item.answer.cited_paths,
                "values": dict(item.values),
                "broken_rules": item.broken,
                "unsupported": item.unsupported,
            },
            ensure_ascii=False,
        )
        for name, system in found.systems.items()
        for item in system.judged
    ]


def _keep(server: Server, subject: Subject, scores: Scores, choices: Choices) -> None:
    if choices.limit is None:
        server.post(f"/api/adapters/{subject.candidate}/scores", {"scores": dict(scores)})


def _write(path: Path, text: str) -> None:
    """Raises BadRequestError that names the file."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadRequestError(
            f"{path} cannot be written ({error.strerror}).", hint="Choose another place for it."
        ) from error
