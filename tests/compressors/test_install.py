"""Every hint how to install something works in a clone: the extra that it names is there and brings the package."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from compressors import install

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize(
    ("packages", "wanted"),
    [
        (["openvino"], '-c constraints.txt -e ".[openvino]"'),
        (["openvino", "nncf", "onnxruntime"], '-c constraints.txt -e ".[openvino,onnxruntime]"'),
        (["Pillow"], '-c constraints.txt -e ".[images]"'),
        (["rouge-score"], '-c constraints.txt -e ".[text]"'),
        (["nvidia_ml_py"], '-c constraints.txt -e ".[cuda]"'),
        (["no-such-package[cpu]>=2"], "no-such-package[cpu]>=2"),
        (["openvino", "another"], '-c constraints.txt -e ".[openvino]" another'),
    ],
)
def test_a_package_comes_by_the_extra_that_has_it(packages: list[str], wanted: str) -> None:
    assert install.command(packages) == f"pip install {wanted}"


def test_what_cannot_be_imported_is_told_with_the_command_and_the_rest_is_not() -> None:
    assert install.reason("it", {"torch": "torch"}) is None and install.absent({}) == []
    needed = {"torch": "torch", "no_such": "no-such-package[cpu]>=2"}
    assert install.absent(needed) == ["no-such-package[cpu]>=2"]
    assert install.reason("it", needed) == (
        "it needs a package that is not installed: pip install no-such-package[cpu]>=2"
    )


def texts() -> Iterator[tuple[str, str]]:
    """(file, text) of all strings of the code that tell how to install something."""
    for package in ("compressors", "benchmarks", "results", "pressbench"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and "pip install" in node.value:
                    yield path.relative_to(ROOT).as_posix(), node.value


def test_no_hint_names_what_no_index_has_and_every_extra_is_there() -> None:
    found = 0
    for path, text in texts():
        assert "pressbench[" not in text, f"{path}: {text}"
        for extra in re.findall(r"\.\[([\w,]+)\]", text):
            found += 1
            assert all(name in EXTRAS for name in extra.split(",")), f"{path}: {text}"
    assert found >= 2


def test_what_methods_and_runtimes_require_has_an_extra() -> None:
    from compressors import registry
    from compressors.runtimes.base import runtime_classes

    built_in = [cls for cls in registry.compressor_classes().values() if cls.__module__.startswith("compressors.")]
    for cls in [*built_in, *runtime_classes().values()]:
        if cls.__module__.startswith("compressors.") and cls.requires:
            assert "-e " in install.command(cls.requires.values()), cls
