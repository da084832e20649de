"""`housevoice feedback`: what users said of answers, and their edits as example rows."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from config.settings import Settings
from server.cli.connection import require_server
from server.cli.console import errors_for_people, out, plain, say

app = typer.Typer(no_args_is_help=True, help="What users said of answers. Kept while storage.store_text is on.")
Brand = Annotated[str, typer.Argument(help="The brand's name.")]


@app.command(name="list")
def list_feedback(
    context: typer.Context,
    brand: Annotated[str, typer.Argument(help="Only this brand.")] = "",
    state: Annotated[str, typer.Option(help="new, accepted or dismissed.")] = "",
) -> None:
    """List it, the latest first. Faults of retrieval are mended in the documents, faults of style by examples."""
    settings: Settings = context.obj
    with errors_for_people():
        chosen = {"brand": brand} | ({"state": state} if state else {})
        rows = require_server(settings).get("/api/feedback", **chosen)["feedback"]
    table = Table(box=None, pad_edge=False)
    for column in ("Id", "Voice", "Rating", "Fault", "State", "Question", "Comment or edit"):
        table.add_column(column, overflow="fold")
    for row in rows:
        said = row["comment"] or row["edited_answer"]
        cells = (row["feedback_id"], row["adapter"] or row["brand"], row["rating"], row["fault"], row["state"])
        table.add_row(*map(plain, (*cells, row["question"][:80], said[:120])))
    out.print(table)


@app.command()
def accept(context: typer.Context, feedback_id: str) -> None:
    """Let an edit become an example row."""
    _review(context.obj, feedback_id, "accepted")


@app.command()
def dismiss(context: typer.Context, feedback_id: str) -> None:
    """Keep it out."""
    _review(context.obj, feedback_id, "dismissed")


@app.command()
def export(
    context: typer.Context,
    brand: Brand,
    output: Annotated[Path, typer.Option("--out", help="JSONL file to write.")],
) -> None:
    """Write a brand's accepted edits as chat-JSONL, for `housevoice adapter curate`."""
    settings: Settings = context.obj
    with errors_for_people():
        rows = require_server(settings).get("/api/feedback/examples", brand=brand)["rows"]
        output.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    say(f"{len(rows)} rows written to {plain(output)}")


def _review(settings: Settings, feedback_id: str, state: str) -> None:
    with errors_for_people():
        require_server(settings).post(f"/api/feedback/{feedback_id}/review", {"state": state})
    say(f"{plain(feedback_id)} is {state}.")
