"""`pressbench peers`: other people's quantizers, which of them are here, and what installs them."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from pressbench.parameters import Json


def peers(
    action: Annotated[
        str | None, typer.Argument(metavar="ACTION", help="Install, or nothing to list which are here: `install`.")
    ] = None,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="What to install, as peer-hqq; more than one is fine.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Other people's quantizers: which are here, in an environment each; `peers install NAME` makes one."""
    from compressors.interface import PressbenchError
    from compressors.nearest import nearest
    from compressors.peers import environment

    known = _known()
    if action is None:
        _list(known, as_json)
        return
    if action != "install":
        raise PressbenchError(f"peers: {action!r} is no action: peers install NAME")
    if not names:
        raise PressbenchError(f"peers install: name one or more of {', '.join(known)}")
    for name in names:
        if name not in known:
            raise PressbenchError(f"unknown peer {name!r}{nearest(name, known)}")
    for name in names:
        environment.install(name, known[name].pins, lambda line: print(f"peers: {line}", file=sys.stderr, flush=True))
        typer.echo(f"{name} is in {environment.folder_of(name)}")


def _known() -> dict[str, Any]:
    from compressors.peers.base import Peer
    from compressors.registry import compressor_classes

    return {name: cls for name, cls in sorted(compressor_classes().items()) if issubclass(cls, Peer)}


def _list(known: dict[str, Any], as_json: bool) -> None:
    from compressors.peers import environment

    found: list[dict[str, Any]] = [
        {
            "name": name,
            "pinned": dict(cls.pins),
            "folder": str(environment.folder_of(name)),
            "missing": environment.missing(name, cls.pins),
        }
        for name, cls in known.items()
    ]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    width = max(len(one["name"]) for one in found)
    for one in found:
        pinned = ", ".join(f"{package} {version}" for package, version in one["pinned"].items())
        typer.echo(f"{one['name']:{width}}  {one['missing'] or 'here'}  ({pinned})")
