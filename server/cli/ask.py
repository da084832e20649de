"""`housevoice ask` and `housevoice chat`: a question from the terminal, streamed, with its sources below."""

from typing import Annotated, Any

import typer

from config.errors import HousevoiceError
from config.settings import Settings
from server.cli.connection import Server, require_server
from server.cli.console import CONTROL, errors_for_people, note, out, plain

Brand = Annotated[str, typer.Argument(help="Brand, brand@version, or the base's name; see `housevoice brands`.")]


def register(app: typer.Typer) -> None:
    app.command()(ask)
    app.command()(chat)


def ask(
    context: typer.Context,
    brand: Brand,
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
) -> None:
    """Ask one question and print the answer with its sources."""
    with errors_for_people():
        server = require_server(context.obj)
        _answer(server, brand, [{"role": "user", "content": question}])


def chat(context: typer.Context, brand: Brand) -> None:
    """Talk with a brand; an empty line or Ctrl-D ends it."""
    settings: Settings = context.obj
    with errors_for_people():
        server = require_server(settings)
        messages: list[dict[str, str]] = []
        while True:
            try:
                question = out.input("[bold]You:[/] ").strip()
            except EOFError:
                question = ""
            if not question:
                return
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": _answer(server, brand, messages)})


def _answer(server: Server, brand: str, messages: list[dict[str, str]]) -> str:
    """Stream one answer to the terminal; returns its text."""
    body = {"model": brand, "messages": messages, "stream": True}
    parts: list[str] = []
    annotations: list[dict[str, Any]] = []
    for line in server.post_events("/v1/chat/completions", body):
        if "error" in line:
            raise HousevoiceError(str(line["error"]["message"]))
        for choice in line["choices"]:
            text = choice["delta"].get("content") or ""
            parts.append(text)
            out.out(CONTROL.sub("", text), end="", highlight=False)
            annotations += choice["delta"].get("annotations") or []
    out.out("")
    _print_annotations(annotations)
    return "".join(parts)


def _print_annotations(annotations: list[dict[str, Any]]) -> None:
    seen: dict[str, str] = {}
    for annotation in annotations:
        citation = annotation["url_citation"]
        seen.setdefault(citation["url"], citation["title"])
    for url, title in seen.items():
        note(f"[dim]source: {plain(title)}  {plain(url)}[/]")
    if not seen:
        note("[dim]no source cited[/]")
