"""The command that installs what is missing, as it works in a clone of the project."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable, Mapping

_PROJECT = "pressbench"


def command(packages: Iterable[str]) -> str:
    """What installs these packages, by the names that pip knows them by: the project's own extras, with the versions it
    pins, where they have them; each by its name where none has."""
    wanted = list(dict.fromkeys(packages))
    extras = dict.fromkeys(extra for name in wanted if (extra := _extra_of(name)))
    others = [name for name in wanted if not _extra_of(name)]
    ours = f'-c constraints.txt -e ".[{",".join(extras)}]"' if extras else ""
    return " ".join(filter(None, ("pip install", ours, *others)))


def absent(requires: Mapping[str, str]) -> list[str]:
    """What of `requires`, module -> what pip calls it, cannot be imported here, by pip's names."""
    return [package for module, package in requires.items() if importlib.util.find_spec(module) is None]


def reason(who: str, requires: Mapping[str, str]) -> str | None:
    """Why it cannot run here, with the command that helps; None where all that it requires is installed."""
    missing = absent(requires)
    return f"{who} needs a package that is not installed: {command(missing)}" if missing else None


def _extra_of(package: str) -> str | None:
    return _extras().get(_normal(re.split(r"[\[<>=!~; ]", package, maxsplit=1)[0]))


@functools.cache
def _extras() -> dict[str, str]:
    """Package -> the extra that brings it, the first one named in the project's own metadata."""
    try:
        wanted = importlib.metadata.requires(_PROJECT) or []
    except importlib.metadata.PackageNotFoundError:  # run from a folder that was not installed
        return {}
    found: dict[str, str] = {}
    for line in wanted:
        match = re.match(r"([A-Za-z0-9._-]+).*extra\s*==\s*['\"]([\w-]+)['\"]", line)
        if match and _normal(match[1]) != _PROJECT:
            found.setdefault(_normal(match[1]), match[2])
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
