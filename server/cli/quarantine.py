"""`housevoice quarantine`: take a document out at once, and keep it out."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from config.settings import Settings
from server.cli.connection import find_server, own_store
from server.cli.console import errors_for_people, out, plain, say
from server.engine.factfiles import forget_files

app = typer.Typer(no_args_is_help=True, help="Take a document out at once, and keep it out of every later ingest.")
KnowledgeBase = Annotated[str, typer.Option("--knowledge-base", "-k", help="Named set of documents.")]
Path = Annotated[str, typer.Argument(help="The document's path, as search and the page show it.")]


@app.command()
def add(
    context: typer.Context,
    path: Path,
    knowledge_base: KnowledgeBase = "company",
    note: Annotated[str, typer.Option(help="Why, for whoever asks later.")] = "",
) -> None:
    """Not found from the next query on, in a running server too. The file stays where it is; this path, and the same
    content under any other, stays out of every later ingest until it is lifted.
    """
    settings: Settings = context.obj
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            server.post("/api/quarantine", {"knowledge_base": knowledge_base, "path": path, "note": note})
        else:
            with own_store(settings, "quarantine") as store:
                store.quarantine(knowledge_base, path, note)
                forget_files(settings.data.facts)
    say(f"{plain(path)} is out. Lift it with: housevoice quarantine lift {plain(path)} -k {plain(knowledge_base)}")


@app.command(name="list")
def list_held(context: typer.Context) -> None:
    """List what is held, since when and why."""
    settings: Settings = context.obj
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            rows = server.get("/api/quarantine")["quarantined"]
        else:
            with own_store(settings, "quarantine") as store:
                rows = [asdict(item) for item in store.quarantined()]
    table = Table(box=None, pad_edge=False)
    for column in ("Knowledge base", "Document", "Since", "Note"):
        table.add_column(column, overflow="fold")
    for row in rows:
        since = datetime.fromtimestamp(row["since_unix_seconds"]).astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(*map(plain, (row["knowledge_base"], row["path"], since, row["note"])))
    out.print(table)


@app.command()
def lift(context: typer.Context, path: Path, knowledge_base: KnowledgeBase = "company") -> None:
    """Let it in again: the next ingest of its folder takes it up."""
    settings: Settings = context.obj
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            server.delete("/api/quarantine", document=path, knowledge_base=knowledge_base)
        else:
            with own_store(settings, "quarantine") as store:
                store.lift_quarantine(knowledge_base, path)
    say(f"Lifted: {plain(path)}. Run housevoice ingest on its folder to take it in again.")
