"""`housevoice keys`: create, list and revoke, through the server or directly on the data directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from config.settings import Settings
from server.cli.connection import find_server
from server.cli.console import errors_for_people, note, out, plain, say
from server.keys import KeyStore, Role

KeyName = Annotated[str, typer.Argument(help="Name or id from `housevoice keys list`.")]
GroupNames = Annotated[list[str], typer.Option("--group", help="A group (repeatable).")]
app = typer.Typer(no_args_is_help=True, help="Who may ask: create, list and revoke API keys (kept only as hashes).")


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose key it is; shown in lists and logs.")],
    role: Annotated[
        str, typer.Option(help="reader: may ask; admin: may also ingest, activate, manage keys.")
    ] = "reader",
    brand: Annotated[list[str] | None, typer.Option(help="May use only this brand (repeatable).")] = None,
    group: Annotated[list[str] | None, typer.Option(help="May read what this group may read (repeatable).")] = None,
) -> None:
    """Make a key and print it once: it cannot be shown again."""
    settings: Settings = context.obj
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            body: dict[str, object] = {"name": name, "role": role, "brands": brand or [], "groups": group or []}
            text = str(server.post("/api/keys", body)["key"])
        else:
            with _own_keys(settings) as store:
                chosen: Role = "admin" if role == "admin" else "reader"
                text = store.create(name, chosen, tuple(brand or ()), tuple(group or ())).text
    note(f"Key for {plain(name)} ({plain(role)}); it is shown this once:")
    say(text)


@app.command(name="list")
def list_keys(context: typer.Context) -> None:
    """List keys by id; the keys themselves are not kept."""
    settings: Settings = context.obj
    with errors_for_people():
        rows = _rows(settings)
    table = Table(box=None, pad_edge=False)
    for column in ("Id", "Name", "Role", "Brands", "Groups", "State"):
        table.add_column(column, overflow="fold")
    for row in rows:
        state = "revoked" if row["is_revoked"] else "valid"
        brands, groups = ", ".join(row["brands"]) or "all", ", ".join(row["groups"]) or "none"
        groups = "reads everything" if row["role"] == "admin" else groups
        table.add_row(plain(row["id"]), plain(row["name"]), row["role"], plain(brands), plain(groups), state)
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


@app.command()
def grant(context: typer.Context, key: KeyName, group: GroupNames) -> None:
    """Put a key into groups, from its next request on."""
    settings: Settings = context.obj
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            groups = server.post(f"/api/keys/{quote(key, safe='')}/groups", {"groups": group})["groups"]
        else:
            with _own_keys(settings) as store:
                groups = store.grant(key, tuple(group)).groups
    say(f"{plain(key)} is in: {plain(', '.join(groups))}.")


@app.command(name="revoke-group")
def revoke_group(context: typer.Context, key: KeyName, group: GroupNames) -> None:
    """Take a key out of groups, from its next request on."""
    settings: Settings = context.obj
    with errors_for_people():
        for name in group:
            _revoke_group(settings, key, name)
    say(f"{plain(key)} is no longer in: {plain(', '.join(group))}.")


def _revoke_group(settings: Settings, key: str, group: str) -> None:
    server = find_server(settings)
    if server is not None:
        server.delete(f"/api/keys/{quote(key, safe='')}/groups/{quote(group, safe='')}")
        return
    with _own_keys(settings) as store:
        store.revoke_group(key, group)


def _rows(settings: Settings) -> list[dict[str, Any]]:
    server = find_server(settings)
    if server is not None:
        return list(server.get("/api/keys")["keys"])
    with _own_keys(settings) as store:
        return [
            {**asdict(key), "is_revoked": key.is_revoked}
            for key in store.keys()  # noqa: SIM118 - a method of ours, not a mapping
        ]


@contextmanager
def _own_keys(settings: Settings) -> Iterator[KeyStore]:
    with settings.data.own("keys"):
        yield KeyStore.open(settings.data)
