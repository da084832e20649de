"""`housevoice eval retrieval`: how well the documents are found, as numbers, as a report, and as a gate for CI."""

import json
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from config.errors import BadRequestError
from config.settings import Settings
from ingest.access.reader import ADMIN
from ingest.store import FactStore
from server.cli.connection import own_store
from server.cli.console import err, errors_for_people, note, out, plain, say
from server.evaluation.evaluate import Evaluation, Subject, as_json, evaluate
from server.evaluation.gate import Shortfall, read_gate, shortfalls
from server.evaluation.judging import SYSTEMS
from server.evaluation.measures import MEASURES, floor_choices
from server.evaluation.questions import Question, read_questions
from server.reranking import Reranker, open_reranker
from server.retrieval import Retriever

app = typer.Typer(no_args_is_help=True, help="Measure: what the documents' questions find.")


@app.callback()
def root() -> None:
    """Keeps `retrieval` a command of its own while it is the only one."""


@app.command()
def retrieval(
    context: typer.Context,
    questions: Annotated[Path, typer.Option(help="JSONL of questions, or a file of pairs; see docs/evaluation.md.")],
    knowledge_base: Annotated[list[str] | None, typer.Option("--knowledge-base", "-k", help="May be repeated.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report for people here.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write all numbers here.")] = None,
    gate: Annotated[Path | None, typer.Option(help="Least values (TOML); exit code 1 where one is missed.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only the first N questions.")] = None,
) -> None:
    """Ask every question of a file and tell how often retrieval finds the place with the answer.

    Compares what is served with each of its two searches alone. Needs the server stopped (it reads the index itself).
    Exit code 0: done, and the gate passed; 1: the gate did not pass; 2: could not run.
    """
    settings: Settings = context.obj
    with errors_for_people():
        chosen = read_questions(questions)[:limit]
        demands = read_gate(gate) if gate else None
        subject = Subject(questions, tuple(knowledge_base or ("company",)), settings.retrieval.relevance_floor)
        with own_store(settings, "eval retrieval") as store:
            found = _evaluate(store, settings, subject, chosen)
        missed = shortfalls(demands, found.scores) if demands else []
        print_scores(found)
        _print_shortfalls(missed)
        _write(html, lambda: _report(found, missed if demands else None))
        _write(json_out, lambda: json.dumps(as_json(found, missed), ensure_ascii=False, indent=1) + "\n")
    raise typer.Exit(1 if missed else 0)


def _evaluate(store: FactStore, settings: Settings, subject: Subject, questions: tuple[Question, ...]) -> Evaluation:
    retriever = Retriever(store, settings.retrieval, _loaded_reranker(settings))
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=len(questions))
        return evaluate(
            subject,
            questions,
            lambda query: retriever.retrieve(query, subject.knowledge_bases, ADMIN),
            store,
            lambda _: bar.advance(task),
        )


def _loaded_reranker(settings: Settings) -> Reranker | None:
    """Loaded first, so that the first questions are not asked without it. Raises ModelError."""
    reranker = open_reranker(settings)
    if reranker is not None:
        reranker.wait_until_loaded()
    return reranker


def print_scores(found: Evaluation) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("System", *MEASURES):
        table.add_column(column, no_wrap=True)
    for system in SYSTEMS:
        shown = (_shown(found, f"{system}.{measure}") for measure in MEASURES)
        table.add_row(system, *(text.replace(" ", "\n") for text in shown))
    out.print(table)
    scores = found.scores
    say(f"{scores.num_answerable} answerable, {scores.num_unanswerable} unanswerable; 95 % intervals in brackets")
    say(f"answerable against unanswerable: AUROC {_shown(found, 'refusal.auroc')}")
    say(
        f"refusals at floor {found.subject.floor:g}: precision {_shown(found, 'refusal.precision')},"
        f" recall {_shown(found, 'refusal.recall')}; answerable refused {_shown(found, 'refusal.wrong')}"
    )
    for choice in floor_choices(found.judged):
        say(
            f"  a floor of {choice.floor:.2f} would refuse {choice.recall:.0%} of the unanswerable"
            f" and {choice.wrong:.1%} of the answerable"
        )
    latency = scores.latency
    say(f"latency p50 {latency.p50:.1f} ms, p95 {latency.p95:.1f} ms, p99 {latency.p99:.1f} ms")
    for item in found.absent[:10]:
        note(f"{plain(item.question_id)}: {plain(item.expected.document)}: {item.reason}")
    if len(found.absent) > 10:
        note(f"and {len(found.absent) - 10} more expected places that are not in the index")


def _shown(found: Evaluation, name: str) -> str:
    return str(found.scores.values[name] or "-")


def _print_shortfalls(missed: list[Shortfall]) -> None:
    for item in missed:
        got = "not measured" if item.got is None else f"{item.got:.3f}"
        say(f"[bold red]{item.name} fell short:[/] {got}, at least {item.least:g} is demanded")


def _report(found: Evaluation, missed: list[Shortfall] | None) -> str:
    from server.evaluation.report import render_report

    return render_report(found, missed, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}")


def _write(path: Path | None, make: Callable[[], str]) -> None:
    """Raises BadRequestError that names the file."""
    if path is None:
        return
    try:
        path.write_text(make(), encoding="utf-8")
    except OSError as error:
        raise BadRequestError(
            f"{path} cannot be written ({error.strerror}).", hint="Choose another place for it."
        ) from error
