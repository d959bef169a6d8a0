"""`pressbench report`: which run it reports, and what a mistake says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vl_convert", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parent / "results"))
from report_runs import store, usual

from pressbench import cli


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "results" / "runs"
    runs.mkdir(parents=True)
    for i in range(1, 4):
        store(runs, f"2026110{i}T000000Z-aaaa", usual())

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pressbench", "report", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
            sys.exit(0)
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "run 20261103T000000Z-aaaa, with 2 earlier"),
        (("20261102T000000Z-aaaa",), "run 20261102T000000Z-aaaa, with 1 earlier"),
        (("20261102T000000Z-aaaa", "20261101T000000Z-aaaa"), "run 20261102T000000Z-aaaa, with 1 earlier"),
        (("--history", "0"), "run 20261103T000000Z-aaaa, with 0 earlier"),
    ],
)
def test_the_latest_of_the_runs_is_reported(call: Any, arguments: tuple[str, ...], told: str) -> None:
    code, out, _ = call(*arguments)
    assert (code, out.strip()) == (0, f"report.html: {told}")
    assert f"<title>pressbench: {told.split(',')[0]}</title>" in Path("report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(("nonesuch",), "no run 'nonesuch'"), (("-o", "results"), "results: cannot be written: Is a directory")],
)
def test_a_mistake_is_one_line(call: Any, arguments: tuple[str, ...], told: str) -> None:
    code, _, err = call(*arguments)
    assert code == cli.USAGE_ERROR and told in err and err.count("\n") == 1


def test_without_the_plotting_library_it_says_what_to_install(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from results.report.bundle import library

    library.cache_clear()
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    code, _, err = call()
    assert code == cli.USAGE_ERROR and 'pip install -c constraints.txt -e ".[report]"' in err and err.count("\n") == 1
