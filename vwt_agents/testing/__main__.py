"""`python -m vwt_agents.testing`: the scripted Ollama server as a process of its own, where `ollama serve` would run.

It listens where OLLAMA_HOST says, with OLLAMA_NUM_PARALLEL slots, until SIGTERM or Ctrl-C: so agents.toml can name it as the
`command` of an endpoint, and a pipeline be tried without any model.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from urllib.parse import urlsplit

import click

from vwt_agents.endpoints.address import server_url
from vwt_agents.testing.ollama_server import OllamaServer, ServedModel

__all__ = ["main"]


@click.command()
@click.option(
    "--model", "models", multiple=True, metavar="NAME[=MIB]", help="A model it has, and what it takes loaded."
)
@click.option("--answer", default="ok", help="What every call is answered.  [default: ok]")
def main(models: tuple[str, ...], answer: str) -> None:
    """Serve Ollama's API from a script, on OLLAMA_HOST (127.0.0.1 only), until told to stop."""
    sizes = {name: mib or "1000" for name, _, mib in (model.partition("=") for model in models)}
    if wrong := [f"{name}={mib}" for name, mib in sizes.items() if not mib.isdecimal()]:
        raise click.BadParameter(f"{wrong[0]!r} is not NAME=MIB, such as mistral:latest=4000", param_hint="--model")
    served = {name: ServedModel(int(mib)) for name, mib in sizes.items()}
    port = urlsplit(server_url()).port or 0
    server = OllamaServer(served, answer, parallel=int(os.environ.get("OLLAMA_NUM_PARALLEL", "1")), port=port)
    try:
        asyncio.run(_serve(server))
    except OSError as error:
        sys.exit(f"Error: listen tcp 127.0.0.1:{port}: {os.strerror(error.errno or 0).lower()}")


async def _serve(server: OllamaServer) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with server:
        click.echo(f"listening on {server.url} with {', '.join(server.models) or 'no models'}", err=True)
        await told.wait()


if __name__ == "__main__":
    main(prog_name="python -m vwt_agents.testing")
