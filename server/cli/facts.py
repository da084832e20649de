"""`housevoice search`: what a question finds."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.table import Table

from config.errors import BadRequestError
from config.settings import Settings
from ingest.access.reader import ADMIN, Reader
from server.api.schemas.retrieval import FilterBody
from server.cli.connection import find_server, own_store
from server.cli.console import errors_for_people, note, out, plain, say
from server.reranking import open_reranker
from server.retrieval import Retriever

KnowledgeBase = Annotated[str, typer.Option("--knowledge-base", "-k", help="Named set of documents.")]


def register(app: typer.Typer) -> None:
    app.command()(search)


def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="What somebody would ask.")],
    knowledge_base: KnowledgeBase = "company",
    path: Annotated[list[str] | None, typer.Option("--path", help="A folder, file or glob; may be repeated.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--type", help="Suffix (pdf) or media type; repeatable.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Tag from front matter; may be repeated.")] = None,
    after: Annotated[str | None, typer.Option("--after", help="Dated from, such as 2026-01-31.")] = None,
    before: Annotated[str | None, typer.Option("--before", help="Dated before.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show all candidates, ranks, and what was cut and why.")
    ] = False,
    as_group: Annotated[
        list[str] | None, typer.Option(help="What somebody in this group finds (repeatable); '' for no group.")
    ] = None,
) -> None:
    """Show what a question retrieves, without generating anything. Hides nothing, unless --as-group says for whom."""
    settings: Settings = context.obj
    given = {"path": path, "type": kind, "tag": tag, "after": after, "before": before}
    with errors_for_people():
        filters = {name: value for name, value in given.items() if value}
        found = _search(settings, query, knowledge_base, filters, as_group or [])
    _print_sources(found)
    if explain:
        _print_candidates(found)


def _search(
    settings: Settings, query: str, knowledge_base: str, filters: dict[str, Any], as_group: list[str]
) -> dict[str, Any]:
    chosen = _checked(filters).search_filter
    server = find_server(settings)
    if server is not None:
        groups = {"as_group": as_group} if as_group else {}
        return dict(server.get("/api/search", q=query, knowledge_base=knowledge_base, **filters, **groups))
    reader = Reader(frozenset(filter(None, as_group))) if as_group else ADMIN
    reranker = open_reranker(settings)
    with own_store(settings, "search") as store:
        if reranker is not None:
            reranker.wait_until_loaded()
        retriever = Retriever(store, settings.retrieval, reranker)
        return asdict(retriever.retrieve(query, (knowledge_base,), reader, chosen))


def _checked(filters: dict[str, Any]) -> FilterBody:
    """Raises BadRequestError that names the option."""
    try:
        return FilterBody.model_validate(filters)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRequestError(f"--{first['loc'][0]} {first['input']}: {first['msg']}.", str(first["loc"][0])) from error


def _print_sources(found: dict[str, Any]) -> None:
    if not found["sources"]:
        note(f"Nothing relevant: {_similarity(found)}.")
    for source in found["sources"]:
        document = source["document"]
        place = ", ".join(part for part in (source["heading"], source["location"]) if part)
        number, title = source["number"], plain(document["title"])
        superseded = f"  [yellow]superseded by {plain(source['superseded_by'])}[/]" if source["superseded_by"] else ""
        say(f"[bold]\\[{number}] {title}[/]  [dim]{plain(document['path'])}  {plain(place)}[/]{superseded}")
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
            plain(_fate(row)),
        )
    out.print(table)
    reranking = f", {plain(found['reranking'])}" if found["reranking"] else ""
    say(f"{_similarity(found)}, {1000 * found['seconds']:.0f} ms{reranking}")


def _similarity(found: dict[str, Any]) -> str:
    return f"best similarity {found['best_similarity']:.3f}, relevance floor {found['floor']:g}"


def _fate(row: dict[str, Any]) -> str:
    reranked = f"; reranker {row['rerank_score']:.2f}" if row["rerank_score"] is not None else ""
    superseded = f"; superseded by {row['superseded_by']}" if row["superseded_by"] else ""
    return f"{row['verdict']}{superseded}{reranked}"


def _rank(rank: int | None, score: float | None) -> str:
    return "-" if rank is None or score is None else f"{rank} ({score:.2f})"
