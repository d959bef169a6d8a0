"""Where GitHub shows a case: beside its method's class."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hardware import select
from benchmarks.matrix.cases import Case
from benchmarks.matrix.sources import places
from benchmarks.matrix.targets import Target
from benchmarks.zoo import find_model
from compressors import registry

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def case() -> Case:
    compressor = registry.variants()["int8-openvino"]
    return Case("footprint", "int8-openvino", compressor, find_model("vit-digits"), select("cpu"), None, Target())


def test_a_case_is_shown_at_the_class_of_its_method(case: Case) -> None:
    place = places([case], ROOT, ROOT)["footprint", case.id]
    assert place.file == "compressors/quantization/int8_openvino.py"
    lines = (ROOT / place.file).read_text().splitlines()[place.line - 1 : place.line + 1]
    assert any(line.startswith(f"class {type(case.compressor).__name__}") for line in lines)


def test_the_suite_may_lie_deeper_in_the_repository(case: Case) -> None:
    place = places([case], ROOT.parent, ROOT)["footprint", case.id]
    assert place.file == f"{ROOT.name}/compressors/quantization/int8_openvino.py"


def test_a_method_from_elsewhere_is_shown_at_the_test(case: Case) -> None:
    place = places([case], ROOT / "benchmarks", ROOT)["footprint", case.id]
    assert place.file == "test_footprint.py"
    line = (ROOT / "benchmarks" / place.file).read_text().splitlines()[place.line - 1]
    assert line.startswith("def test_footprint")


def test_what_is_not_in_the_repository_has_no_place(case: Case, tmp_path: Path) -> None:
    assert places([case], tmp_path, ROOT) == {}
