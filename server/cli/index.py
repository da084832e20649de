"""`housevoice index`: generations, verification, backup and restore."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from config.environment import prepare_environment
from config.errors import HousevoiceError
from config.restore import restore_backup
from config.settings import Settings
from server.cli.connection import Server, find_server, own_generations
from server.cli.console import errors_for_people, note, out, plain, say
from server.cli.progress import OnProgress, progress_bar
from server.index_work import Work, backing_up, describe, pruning, rebuilding, rolling_back, verifying

app = typer.Typer(no_args_is_help=True, help="The index as a whole: rebuild, go back, verify, back up, restore.")
KINDS = {
    "no_vector": "without a vector",
    "unreachable": "not found by their own vector",
    "stray_vectors": "vectors of chunks that do not exist",
    "no_words": "not in the lexical index",
    "wrong_words": "not found by their own words",
    "stray_words": "lexical rows of chunks that do not exist",
    "incomplete": "documents that lack chunks",
    "damage": "damaged",
}
NUM_SHOWN = 5


@app.command(name="list")
def list_generations(context: typer.Context) -> None:
    """List the generations that are kept, and in what the live one is not what the settings ask for."""
    settings: Settings = context.obj
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            found = server.get("/api/index")
        else:
            with own_generations(settings, "index list", needs_embedder=False) as generations:
                found = describe(generations)
    table = Table(box=None, pad_edge=False)
    for column in ("Number", "State", "Made", "Embedder", "Chunk tokens", "Checks"):
        table.add_column(column, overflow="fold")
    for row in found["generations"]:
        table.add_row(*_generation_row(row, found["previous"]))
    out.print(table)
    for difference in found["differences"]:
        note(f"The settings ask for another: {plain(difference)}")
    if found["differences"]:
        note("housevoice index rebuild makes a generation by the present settings.")


def _generation_row(row: dict[str, Any], previous: int | None) -> tuple[str, ...]:
    kept = "before" if row["number"] == previous else "kept"
    state = "live" if row["is_live"] else kept if row["is_complete"] else "unfinished"
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created_unix_seconds"]))
    checks = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in row["checks"].items())
    recipe = row["recipe"]
    return str(row["number"]), state, made, plain(recipe["embedder"]), str(recipe["chunk_tokens"]), plain(checks)


@app.command(name="rebuild")
def rebuild_index(
    context: typer.Context,
    questions: Annotated[
        Path | None, typer.Option(help='JSONL {"question", "relevant": [{"document": path}]} to compare recall@10 on.')
    ] = None,
    accept_worse: Annotated[bool, typer.Option("--accept-worse", help="Switch even if recall falls.")] = False,
) -> None:
    """Build a generation by the present settings beside the live one, verify it, and switch to it.

    Answers go on meanwhile. What stops it costs nothing: run it again, and it goes on. Exit code 1: built, but refused
    by its verification.
    """
    settings: Settings = context.obj
    with errors_for_people():
        body: dict[str, object] = {
            "questions": str(questions.absolute()) if questions else None,
            "accept_worse": accept_worse,
        }
        _print_switch(
            _run(
                settings,
                "/api/index/rebuild",
                body,
                lambda: rebuilding(settings, questions, accepts_worse=accept_worse),
                needs_embedder=False,
            )
        )


@app.command()
def rollback(
    context: typer.Context,
    number: Annotated[
        int | None, typer.Argument(help="A number of `housevoice index list`; the last live one.")
    ] = None,
) -> None:
    """Go back to an earlier generation. What was ingested or removed since is caught up first."""
    with errors_for_people():
        _print_switch(_run(context.obj, "/api/index/rollback", {"number": number}, lambda: rolling_back(number)))


@app.command(name="prune")
def prune_generations(
    context: typer.Context,
    keep: Annotated[int | None, typer.Option(min=0, help="How many before the live one to keep (index.keep).")] = None,
) -> None:
    """Remove generations that are not needed any more, and unfinished ones."""
    settings: Settings = context.obj
    with errors_for_people():
        num_kept = settings.index.keep if keep is None else keep
        body: dict[str, object] = {"keep": num_kept}
        report = _run(settings, "/api/index/prune", body, lambda: pruning(num_kept), needs_embedder=False)
    removed = ", ".join(str(number) for number in report["removed"])
    say(f"Removed: {removed or 'none'}.")


@app.command(name="verify")
def verify_index(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Embed what is missing, remove what is stray.")] = False,
) -> None:
    """Look at every chunk: in all three places, found by its own vector and by its own words. Exit code 1: not all."""
    with errors_for_people():
        report = _run(context.obj, "/api/index/verify", {"repair": repair}, lambda: verifying(repair=repair))
    for name, text in KINDS.items():
        if report[name]:
            shown = ", ".join(plain(item) for item in report[name][:NUM_SHOWN])
            say(f"[red]{len(report[name])}[/] {text}: {shown}{', ...' if len(report[name]) > NUM_SHOWN else ''}")
    if report["is_good"]:
        say(f"Generation {report['generation']}: all {report['num_chunks']} chunks are found by vector and by words.")
        return
    note(_advice(report, is_repaired=repair))
    raise typer.Exit(1)


def _advice(report: dict[str, Any], *, is_repaired: bool) -> str:
    if not is_repaired:
        return "housevoice index verify --repair mends this."
    if report["incomplete"]:
        return "Run housevoice ingest on the documents' folders: their chunks come back from the files."
    return "housevoice index rebuild makes the index anew; housevoice index restore FILE goes back to a backup."


@app.command()
def backup(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="New .tar.gz file; a dated one in the data directory.")] = None,
) -> None:
    """Write everything but downloaded models to one file, while the server runs. It holds keys: keep it safe."""
    with errors_for_people():
        target = file.absolute() if file else None
        body: dict[str, object] = {"path": str(target) if target else None}
        report = _run(context.obj, "/api/index/backup", body, lambda: backing_up(target), needs_embedder=False)
    say(f"{plain(report['path'])} ({report['num_bytes'] / 1e6:.1f} MB)")


@app.command()
def restore(
    context: typer.Context, file: Annotated[Path, typer.Argument(help="What `housevoice index backup` wrote.")]
) -> None:
    """Put a backup back, with no server running. What is there now is moved aside, into backups/."""
    settings: Settings = context.obj
    prepare_environment()
    with (
        errors_for_people(),
        settings.data.own("index restore", is_restore=True),
        progress_bar() as advance,
    ):
        manifest, aside = restore_backup(
            settings.data, file, lambda stage, done, total: advance(stage, done, total, "")
        )
    counts = ", ".join(f"{count} {plain(name)}" for name, count in manifest.counts.items())
    say(f"Restored: index generation {manifest.generation}, {counts}.")
    note(f"What was there before lies in {plain(aside)}.")


def _run(
    settings: Settings,
    path: str,
    body: dict[str, object],
    make_work: Callable[[], Work],
    *,
    needs_embedder: bool = True,
) -> dict[str, Any]:
    """Through the server when it is up, else `make_work` here, with the data directory's lock."""
    server = find_server(settings)
    with progress_bar() as advance:
        if server is not None:
            return _run_remotely(server, path, body, advance)
        with own_generations(settings, "index", needs_embedder=needs_embedder) as generations:
            return make_work()(generations, lambda p: advance(p.stage, p.num_done, p.num_total, p.path))


def _run_remotely(server: Server, path: str, body: dict[str, object], advance: OnProgress) -> dict[str, Any]:
    for line in server.post_lines(path, body):
        if "progress" in line:
            step = line["progress"]
            advance(step["stage"], step["num_done"], step["num_total"], step["path"])
        elif "report" in line:
            return dict(line["report"])
        else:
            raise HousevoiceError(str(line.get("error", {}).get("message", line)))
    raise HousevoiceError("The server ended the work without a report.", "Look at its log, then run it again.")


def _print_switch(report: dict[str, Any]) -> None:
    """Of a rebuild or a rollback."""
    say(
        f"Generation {report['number']}: {report['num_documents']} documents ({report['num_parsed']} made from their"
        f" files, {report['num_carried']} from their stored text), {report['num_chunks_after']} chunks"
        f" ({report['num_chunks_before']} before), {report['seconds']:.1f} s."
    )
    say(f"Self-search: {report['share_found']:.1%}.{_recall_text(report)}")
    if report["refusal"]:
        say(f"[red]Not live:[/] {plain(report['refusal'])} Generation {report['before']} answers on.")
        raise typer.Exit(1)
    say(f"[green]Live[/], in place of generation {report['before']}; housevoice index rollback goes back.")


def _recall_text(report: dict[str, Any]) -> str:
    if report["recall_after"] is None:
        return " Recall was not compared: no questions (index.questions, --questions)."
    before = "unknown" if report["recall_before"] is None else f"{report['recall_before']:.3f}"
    return f" Recall at ten: {before} before, {report['recall_after']:.3f} now."
