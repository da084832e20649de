"""`housevoice search`: what a question finds."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from config.settings import Settings
from server.cli.connection import find_server, own_store
from server.cli.console import errors_for_people, note, out, plain, say
from server.retrieval import Retriever

KnowledgeBase = Annotated[str, typer.Option("--knowledge-base", "-k", help="Named set of documents.")]


def register(app: typer.Typer) -> None:
    app.command()(search)


def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="What somebody would ask.")],
    knowledge_base: KnowledgeBase = "company",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show all candidates, ranks, and what was cut and why.")
    ] = False,
) -> None:
    """Show what a question retrieves, without generating anything."""
    settings: Settings = context.obj
    with errors_for_people():
        found = _search(settings, query, knowledge_base)
    _print_sources(found)
    if explain:
        _print_candidates(found)


def _search(settings: Settings, query: str, knowledge_base: str) -> dict[str, Any]:
    server = find_server(settings)
    if server is not None:
        return dict(server.get("/api/search", q=query, knowledge_base=knowledge_base))
    with own_store(settings, "search") as store:
        return asdict(Retriever(store, settings.retrieval).retrieve(query, (knowledge_base,)))


def _print_sources(found: dict[str, Any]) -> None:
    if not found["sources"]:
        note(f"Nothing relevant (best similarity {found['best_similarity']:.2f}).")
    for source in found["sources"]:
        document = source["document"]
        place = ", ".join(part for part in (source["heading"], source["location"]) if part)
        number, title = source["number"], plain(document["title"])
        say(f"[bold]\\[{number}] {title}[/]  [dim]{plain(document['path'])}  {plain(place)}[/]")
        say(plain(source["text"]) + "\n")


def _print_candidates(found: dict[str, Any]) -> None:
    table = Table(title=f"Candidates for {plain(found['query'])!r}", title_justify="left", box=None, pad_edge=False)
    for column in ("Fused", "Dense", "Lexical", "Document", "Heading", "What became of it"):
        table.add_column(column, overflow="fold")
    for row in found["candidates"]:
        table.add_row(
            str(row["fused_rank"]),
            _rank(row["dense_rank"], row["dense_score"]),
            _rank(row["lexical_rank"], row["lexical_score"]),
            plain(row["document"]["path"]),
            plain(" > ".join(row["chunk"]["heading_path"])),
            plain(row["verdict"]),
        )
    out.print(table)
    say(f"best similarity {found['best_similarity']:.3f}, {1000 * found['seconds']:.0f} ms")


def _rank(rank: int | None, score: float | None) -> str:
    return "-" if rank is None or score is None else f"{rank} ({score:.2f})"
