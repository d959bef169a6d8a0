"""`python -m benchmarks.trust`: measure, keep the samples, write the page."""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from pathlib import Path

from benchmarks.trust.page import page
from benchmarks.trust.rivals import rivals
from benchmarks.trust.samples import Session, stored_session
from compressors.interface import PressbenchError

ROUNDS = 18
DOCS = Path("docs/trust.md")
"""The page that readers of the repository see: written only where that is asked for."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trust", description=__doc__)
    parser.add_argument("--from", dest="stored", type=Path, metavar="FILE", help="redraw from samples stored before")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of eight recordings (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=480, help="begin no round after so long (default: %(default)g)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of every order and every draw (default: %(default)s)")
    parser.add_argument("--samples", type=Path, default=Path("results/trust"), help="where samples are kept")
    parser.add_argument("--page", type=Path, help="what to write (default: trust.md beside the samples)")
    parser.add_argument("--write-docs", action="store_true", help=f"write {DOCS}, the page under version control")
    options = parser.parse_args()
    try:
        rivals()  # without asv there is no page: better known before measuring than after
        session = stored_session(options.stored) if options.stored else _measured(options)
        tell("deciding")
        written = options.page or (DOCS if options.write_docs else options.samples / "trust.md")
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(page(session), encoding="utf-8")
    except PressbenchError as error:
        print(f"trust: {error}", file=sys.stderr)
        return 1
    tell(f"wrote {written}")
    return 0


def tell(line: str) -> None:
    """One line of progress."""
    print(f"trust: {line}", flush=True)


def _measured(options: argparse.Namespace) -> Session:
    from benchmarks.hardware import select  # with torch, which redrawing can do without
    from benchmarks.measure.exclusive import exclusive
    from benchmarks.trust.recording import record

    hardware = select("cpu")
    with tempfile.TemporaryDirectory(prefix="pressbench-trust-") as folder, exclusive(hardware.name, say=tell):
        session = record(
            Path(folder), hardware, rounds=options.rounds, seed=options.seed, seconds=options.seconds, tell=tell
        )
    options.samples.mkdir(parents=True, exist_ok=True)
    path = options.samples / f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(session.model_dump_json(), encoding="utf-8")
    tell(f"samples are in {path}")
    return session


if __name__ == "__main__":
    sys.exit(main())
