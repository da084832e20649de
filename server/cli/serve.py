"""`housevoice serve`: start the server."""

from typing import Annotated

import typer

from config.settings import Settings
from server.app import run_server


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on (HOUSEVOICE_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one (HOUSEVOICE_PORT).")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="With the sample company's documents and brands.")] = False,
) -> None:
    """Start the server and print how to reach it. Ctrl-C or SIGTERM lets running answers finish, then stops.

    Beyond loopback it starts only after a key was made: housevoice keys create NAME.
    """
    settings: Settings = context.obj
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"server": settings.server.model_copy(update=changes)})
    raise typer.Exit(run_server(settings, with_sample=sample))
