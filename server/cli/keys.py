"""`housevoice keys`: create, list and revoke, through the server or directly on the data directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.table import Table

from config.settings import Settings
from server.cli.connection import find_server
from server.cli.console import errors_for_people, note, out, plain, say
from server.keys import KeyStore, Role

app = typer.Typer(no_args_is_help=True, help="Who may ask: create, list and revoke API keys (kept only as hashes).")


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose key it is; shown in lists and logs.")],
    role: Annotated[
        str, typer.Option(help="reader: may ask; admin: may also ingest, activate, manage keys.")
    ] = "reader",
    brand: Annotated[list[str] | None, typer.Option(help="May use only this brand (repeatable).")] = None,
) -> None:
    """Make a key and print it once: it cannot be shown again."""
    settings: Settings = context.obj
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            text = str(server.post("/api/keys", {"name": name, "role": role, "brands": brand or []})["key"])
        else:
            with _own_keys(settings) as store:
                chosen: Role = "admin" if role == "admin" else "reader"
                text = store.create(name, chosen, tuple(brand or ())).text
    note(f"Key for {plain(name)} ({plain(role)}); it is shown this once:")
    say(text)


@app.command(name="list")
def list_keys(context: typer.Context) -> None:
    """List keys by id; the keys themselves are not kept."""
    settings: Settings = context.obj
    with errors_for_people():
        rows = _rows(settings)
    table = Table(box=None, pad_edge=False)
    for column in ("Id", "Name", "Role", "Brands", "State"):
        table.add_column(column, overflow="fold")
    for row in rows:
        state = "revoked" if row["is_revoked"] else "valid"
        table.add_row(
            plain(row["id"]), plain(row["name"]), row["role"], plain(", ".join(row["brands"]) or "all"), state
        )
    out.print(table)


@app.command()
def revoke(
    context: typer.Context, key_id: Annotated[str, typer.Argument(help="Id from `housevoice keys list`.")]
) -> None:
    """Make a key invalid from the next request on."""
    settings: Settings = context.obj
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            server.delete(f"/api/keys/{key_id}")
        else:
            with _own_keys(settings) as store:
                store.revoke(key_id)
    say(f"Revoked {plain(key_id)}.")


def _rows(settings: Settings) -> list[dict[str, Any]]:
    server = find_server(settings)
    if server is not None:
        return list(server.get("/api/keys")["keys"])
    with _own_keys(settings) as store:
        return [
            {"id": key.id, "name": key.name, "role": key.role, "brands": key.brands, "is_revoked": key.is_revoked}
            for key in store.keys()  # noqa: SIM118 - a method of ours, not a mapping
        ]


@contextmanager
def _own_keys(settings: Settings) -> Iterator[KeyStore]:
    with settings.data.own("keys"):
        yield KeyStore.open(settings.data)
