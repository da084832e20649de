"""`housevoice access`: who may read a knowledge base, and the rules that folders and documents state."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from config.settings import Settings
from ingest.access.pick import Choice, pick_rules
from server.cli.connection import find_server, own_store
from server.cli.console import errors_for_people, out, plain, say
from server.keys import checked_groups

app = typer.Typer(no_args_is_help=True, help="Who may read: rules on knowledge bases, folders and documents.")
KnowledgeBase = Annotated[str, typer.Argument(help="Named set of documents.")]


@app.command(name="set")
def set_rule(
    context: typer.Context,
    knowledge_base: KnowledgeBase,
    group: Annotated[list[str], typer.Option(help="A group that may read it (repeatable); all others may not.")],
) -> None:
    """Restrict a knowledge base to groups, from the next query on. It may be set before the first ingest.

    Folders say it in a file .housevoice-access.toml, documents in a line `access: \\[hr]` of their head.
    """
    settings: Settings = context.obj
    with errors_for_people():
        groups = checked_groups(tuple(group))
        server = find_server(settings)
        if server is not None:
            server.put(f"/api/access/{quote(knowledge_base, safe='')}", {"groups": list(groups)})
        else:
            with own_store(settings, "access") as store:
                store.restrict(knowledge_base, groups)
    say(f"{plain(knowledge_base)} is read by: {plain(', '.join(groups))} (and admins).")


@app.command(name="list")
def list_rules(context: typer.Context) -> None:
    """List all rules. A document is read by whoever meets every rule above it."""
    settings: Settings = context.obj
    with errors_for_people():
        rows = _rows(settings)
    table = Table(box=None, pad_edge=False)
    for column in ("Knowledge base", "Rule on", "Place", "Groups", "Problem"):
        table.add_column(column, overflow="fold")
    for row in rows:
        place = f"{row['place']}  {row['pattern']}".strip() or "all of it"
        groups = ", ".join(row["groups"]) or "nobody but admins"
        kind = str(row["kind"]).replace("_", " ")
        table.add_row(*map(plain, (row["knowledge_base"], kind, place, groups, row["problem"])))
    out.print(table)


@app.command()
def clear(
    context: typer.Context,
    knowledge_base: KnowledgeBase,
    folder: Annotated[Path | None, typer.Option(help="Lift this folder's rules instead.")] = None,
    document: Annotated[str, typer.Option(help="Lift the rule of this document (its path) instead.")] = "",
    stale: Annotated[bool, typer.Option("--stale", help="Lift all rules that no file states any more.")] = False,
) -> None:
    """Lift the knowledge base's rule, or another one, from the next query on.

    What an access file or a document still says comes back with the next ingest.
    """
    settings: Settings = context.obj
    path = str(folder.expanduser().resolve()) if folder else ""
    with errors_for_people():
        cleared = _clear(settings, Choice(knowledge_base, path, document, stale))
    for row in cleared:
        say(f"Lifted: {plain(row['place'] or row['knowledge_base'])} {plain(row['pattern'])}".rstrip())


def _clear(settings: Settings, choice: Choice) -> list[dict[str, Any]]:
    server = find_server(settings)
    if server is not None:
        path = f"/api/access/{quote(choice.knowledge_base, safe='')}"
        options: dict[str, str | bool] = {
            "folder": choice.folder,
            "document": choice.document,
            "stale": choice.is_stale,
        }
        return list(server.delete(path, **{name: value for name, value in options.items() if value})["cleared"])
    with own_store(settings, "access") as store:
        chosen = pick_rules(store.access_rules(choice.knowledge_base), choice)
        store.clear_access(chosen)
        return [asdict(rule) for rule in chosen]


def _rows(settings: Settings) -> list[dict[str, Any]]:
    server = find_server(settings)
    if server is not None:
        return list(server.get("/api/access")["rules"])
    with own_store(settings, "access") as store:
        return [asdict(rule) for rule in store.access_rules()]
