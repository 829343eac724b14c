"""`python -m workbook.sandbox`: the sandbox as a service."""

import asyncio
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="The sandbox: sessions in which code is executed, each in a box of its own.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

HELP = """Serve sessions over HTTP until SIGTERM or Ctrl-C.

With nothing said, it listens on this machine alone, keeps its state in a file of the user's data folder, and makes a
token, which is printed and kept in a file that only the user reads. Sessions outlive it: whoever starts it again, at
the same port, has them back.

stdout has two lines once it serves, "url URL" and "token TOKEN" (none with --tenants); stderr has a log of JSON lines.

Several nodes share a store: give each the same --store, --tenants and --secret, and its own --node-url.

Exit status: 0 ended by a signal, 1 no box can be made on this machine or the store cannot be opened, 2 bad usage.
"""

_Access = Literal["open", "loopback", "token"]


@app.callback()
def _options() -> None:
    """The sandbox."""


@app.command(help=HELP)
def serve(
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 0,
    store: Annotated[str, typer.Option(help="Where sessions are kept: sqlite:PATH or redis://HOST:PORT/0.")] = "",
    capacity: Annotated[int, typer.Option(min=1, max=240, help="Sessions that are live at once.")] = 100,
    ready: Annotated[int, typer.Option(min=0, max=16, help="Boxes that wait for sessions.")] = 4,
    queue: Annotated[int, typer.Option(min=0, help="Sessions that may wait for room.")] = 100,
    patience: Annotated[float, typer.Option(min=0, help="Seconds that one waits for room.")] = 10.0,
    idle: Annotated[float, typer.Option(min=0.1, help="Seconds without a request after which a box ends.")] = 600.0,
    quota: Annotated[int, typer.Option(min=1, help="Sessions that a tenant may have, unless its entry says.")] = 100,
    keep_logs: Annotated[
        float, typer.Option(min=0, help="Days for which logs of closed sessions are kept; inf: for ever.")
    ] = 30.0,
    memory: Annotated[int, typer.Option(min=64, help="MiB that a session may use.")] = 2048,
    tenants: Annotated[Path | None, typer.Option(help="Who may ask: TOML or JSON, with the SHA-256 of tokens.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Where the token that is made is kept.")] = None,
    allow_generated_token: Annotated[
        bool, typer.Option("--allow-generated-token", help="Listen beyond this machine without --tenants.")
    ] = False,
    allow: Annotated[
        list[str] | None, typer.Option(help="A host that sessions may fetch from; again for more.")
    ] = None,
    environments: Annotated[Path | None, typer.Option(help="Folder of the environments' locks, NAME.txt.")] = None,
    mount: Annotated[list[str] | None, typer.Option(help="Data for sessions: NAME=FOLDER or NAME=URL.")] = None,
    node_name: Annotated[str, typer.Option(help="What this node is called; the same when it starts again.")] = "",
    node_url: Annotated[str, typer.Option(help="Where other nodes of the same store reach this one.")] = "",
    secret: Annotated[Path | None, typer.Option(help="File with the secret that the nodes share.")] = None,
    docs: Annotated[_Access, typer.Option(help="Who sees the pages about the interface.")] = "open",
    metrics: Annotated[_Access, typer.Option(help="Who sees /metrics.")] = "loopback",
    grace: Annotated[int, typer.Option(min=0, help="Seconds that requests have left when it ends.")] = 20,
    heartbeat: Annotated[float, typer.Option(min=0.05, help="Seconds after which a silent stream tells.")] = 10.0,
) -> None:
    """Serves sessions."""
    from platformdirs import user_cache_path, user_data_path

    from workbook.sandbox.isolation.box import IsolationError
    from workbook.sandbox.service import logs
    from workbook.sandbox.service.auth import TenantsError
    from workbook.sandbox.service.node import NodeSettings
    from workbook.sandbox.service.serve import Settings, SettingsError, run
    from workbook.sandbox.service.store import StoreError

    data = user_data_path("inference-workbook") / "sandbox"
    store = store or f"sqlite:{data / 'sessions.db'}"
    mounts = dict(entry.partition("=")[::2] for entry in mount or [])
    if not all(mounts.values()):
        raise typer.BadParameter("write --mount NAME=FOLDER or NAME=URL")
    node = NodeSettings(
        id=node_name or _name(node_url),
        url=node_url,
        capacity=capacity,
        ready=ready,
        queue=queue,
        patience=patience,
        idle=idle,
        quota=quota,
    )
    node = replace(node, limits=replace(node.limits, memory=memory << 20))
    settings = Settings(
        node,
        store,
        host=host,
        port=port,
        tenants=tenants,
        token_file=token_file or data / "token",
        insecure=allow_generated_token,
        allow=tuple(allow or ()),
        secret_file=secret,
        locks=environments,
        cache=user_cache_path("inference-workbook") / "environments",
        mounts=mounts,
        docs=docs,
        metrics=metrics,
        keep_logs=keep_logs,
        grace=grace,
        heartbeat=heartbeat,
    )
    logs.to_stream(sys.stderr)
    try:
        run(settings, _say)
    except (SettingsError, TenantsError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    except StoreError as error:
        typer.echo(f"Error: the store {_shown(store)}: {error}", err=True)
        raise typer.Exit(1) from None
    except IsolationError as error:
        typer.echo(f"Error: no sandbox can be made here: {error}{_remedy()}", err=True)
        raise typer.Exit(1) from None
    except asyncio.CancelledError:
        raise typer.Exit(0) from None


def _say(url: str, token: str) -> None:
    sys.stdout.write(f"url {url}\n" + (f"token {token}\n" if token else ""))
    sys.stdout.flush()


def _name(url: str) -> str:
    """A name that a node has again when it is started again, so that it has its sessions back at once."""
    return f"{socket.gethostname()} {url}".strip()


def _shown(store: str) -> str:
    """A store's address without a password."""
    scheme, colon, rest = store.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if colon else store


def _remedy() -> str:
    """What `autograder doctor` says to do about it."""
    from workbook.sandbox.isolation.probes import SANDBOX, probe

    found = [one.remedy for one in probe([]) if one.layer == SANDBOX and one.remedy]
    return f" ({found[0]})" if found else ""


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()
