"""`python -m benchmarks.gpu_check`: the command line, which needs nothing but Python until it knows what is there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.gpu_check import wheels

UNANSWERED = 2


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument(
        "--device", default="cuda0", help="as `pressbench list hardware` names it (default: %(default)s)"
    )
    parser.add_argument("--small", action="store_true", help="tiny shapes, as on a CPU")
    parser.add_argument(
        "--minutes", type=float, default=7.0, help="begin no check after so long (default: %(default)g)"
    )
    parser.add_argument("--out", type=Path, default=Path("results/gpu_check"), help="where what is found is kept")
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="checks with that in their name, and the ceilings"
    )
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="install the wheels of that folder first")
    commands = parser.add_subparsers(dest="command", metavar="bundle")
    fetch = commands.add_parser("bundle", help="fetch wheels, where there is a network, for a machine without one")
    fetch.add_argument("folder", type=Path)
    fetch.add_argument("packages", nargs="*", help="what is missing there: it says so")
    fetch.add_argument("--python", default=wheels.PYTHON, help="the Python there (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "bundle":
            print(wheels.bundle(options.folder, options.packages, options.python))
            return 0
        if options.wheels:
            wheels.install(options.wheels)
    except ValueError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return UNANSWERED
    if missing := [name for name in wheels.missing() if name != "nvidia-ml-py" or "cuda" in options.device]:
        there = f"python -m benchmarks.gpu_check bundle DIR {' '.join(missing)}"
        print(f"gpu_check: not here: {', '.join(missing)}; `{there}` fetches them for --wheels DIR", file=sys.stderr)
        return UNANSWERED
    return _check(options)


def _check(options: argparse.Namespace) -> int:
    from benchmarks.gpu_check.checks import CEILINGS, checks
    from benchmarks.gpu_check.command import check_all
    from compressors.interface import PressbenchError

    wanted = options.only or [""]
    chosen = [one for one in checks() if one.name == CEILINGS or any(text in one.name for text in wanted)]
    try:
        return check_all(options.device, options.small, 60 * options.minutes, options.out, chosen)
    except PressbenchError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return UNANSWERED


if __name__ == "__main__":
    sys.exit(main())
