"""A method is found by its name, ours and anyone's alike, and a broken plugin takes nobody along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import nn

from compressors import registry
from compressors.build import code_of
from compressors.distillation.layers import DistilLayers
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec, PressbenchError
from compressors.pruning.vocabulary import PruneVocabulary
from compressors.quantization.int8_openvino import Int8Openvino

ROOT = Path(__file__).parents[2]
SPEC = ModelSpec("model", {"model_type": "bert"}, {})
CPU = Hardware("cpu", "cpu-generic")


@dataclass(frozen=True)
class _Planted(Compressor):
    name: ClassVar[str] = "planted"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "simulated"
    variants: ClassVar[dict[str, dict[str, Any]]] = {"": {}, "10": {"strength": 10}}
    nightly_variants: ClassVar[dict[str, dict[str, Any]]] = {"99": {"strength": 99}}
    full_variants: ClassVar[dict[str, dict[str, Any]]] = {"999": {"strength": 999}}

    strength: int = 1
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise ValueError(f"strength is {self.strength}, must be at least 0")

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        raise NotImplementedError


@pytest.fixture
def planted() -> type[_Planted]:
    registry.register(_Planted)
    return _Planted


# -- names and parameters --------------------------------------------------------------------------


def test_every_built_in_is_found_and_none_is_broken() -> None:
    assert {"dense", "torch-bf16", "distil-layers", "prune-vocabulary", "int8-openvino"} <= set(
        registry.compressor_classes()
    )
    assert registry.broken_plugins() == []


@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("plantd", {}, "unknown compressor 'plantd'; did you mean planted?"),
        ("planted", {"strenght": 2}, "compressor 'planted' has no parameter 'strenght'; did you mean strength?"),
        ("planted", {"zzz": 2}, "compressor 'planted' has no parameter 'zzz'; there are: layers, strength"),
        ("planted", {"name": "x"}, "compressor 'planted' has no parameter 'name'; there are: layers, strength"),
        ("planted", {"strength": -1}, "compressor 'planted': strength is -1, must be at least 0"),
        ("planted", {"strength": "much"}, "compressor 'planted': strength is \"much\", must be a whole number"),
        ("pipeline", {"chain": 3}, "compressor 'pipeline': chain is 3, must be a list, each a list of 2: text, a list"),
    ],
)
def test_what_does_not_fit_is_one_line(planted: Any, name: str, parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(PressbenchError) as error:
        registry.build(name, parameters)
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


def test_a_name_that_resembles_nothing_comes_with_the_list(planted: Any) -> None:
    with pytest.raises(PressbenchError, match=r"unknown compressor 'qqqqqqqq'; there are: .*dense, .*planted, "):
        registry.build("qqqqqqqq")


def test_lists_become_tuples_as_json_has_no_other(planted: type[_Planted]) -> None:
    built = registry.build("planted", {"layers": [1, 2], "strength": 3})
    assert built == planted(strength=3, layers=(1, 2))
    hash(built)  # the suite keeps compressors in dictionaries


def test_variants_are_named_by_their_suffix_and_each_tier_has_more(planted: type[_Planted]) -> None:
    quick = {n: c for n, c in registry.variants("quick").items() if c.name == "planted"}
    assert quick == {"planted": planted(), "planted-10": planted(strength=10)}
    more = {"nightly": {"planted-99"}, "full": {"planted-99", "planted-999"}}
    for tier, ids in more.items():
        assert {n for n, c in registry.variants(tier).items() if c.name == "planted"} == {*quick, *ids}


# -- support ---------------------------------------------------------------------------------------


def test_a_missing_package_is_a_reason_with_the_command() -> None:
    class _Needs(_Planted):
        requires: ClassVar[dict[str, str]] = {"json": "json", "no_such_package": "no-such-package[cpu]>=2"}

    reason = registry.unsupported_reason(_Needs(), SPEC, CPU)
    assert reason == "planted needs a package that is not installed: pip install no-such-package[cpu]>=2"
    assert registry.unsupported_reason(_Planted(), SPEC, CPU) is None


def test_a_reason_of_any_step_is_one_of_the_whole_with_its_name() -> None:
    class _Refuses(_Planted):
        def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
            return f"not on {model.name}"

    class _Chain(_Planted):
        @property
        def steps(self) -> tuple[Compressor, ...]:
            return (_Planted(), _Refuses())

    assert registry.unsupported_reason(_Chain(), SPEC, CPU) == "planted: not on model"


# -- plugins ---------------------------------------------------------------------------------------

METHOD = """
from dataclasses import dataclass
from typing import ClassVar
from compressors.interface import Compressor, Compressed

@dataclass(frozen=True)
class {cls}(Compressor):
    name: ClassVar[str] = {name!r}
    family: ClassVar[str] = "pruning"
    effect: ClassVar[str] = "simulated"

    def compress(self, model, context):
        return Compressed(model)
"""

PLUGINS = {
    "good": METHOD.format(cls="Good", name="planted-good"),
    "package/__init__": "",
    "package/first": METHOD.format(cls="First", name="planted-first"),
    "package/half": METHOD.format(cls="Half", name="planted-half") + "\nimport no_such_module_anywhere",
    "package/later": METHOD.format(cls="Later", name="planted-later"),
    "thief": METHOD.format(cls="Thief", name="int8-openvino"),
    "shouting": METHOD.format(cls="Shouting", name="Planted!"),
    "raising": "raise RuntimeError('first line\\nsecond line')",
    "leaving": "import sys; sys.exit('usage: leaving [options]')",
    "typo": "def broken(:\n",
    "constant": "VALUE = 3",
    "importing": "from good import Good  # another's class, which is not to be counted twice",
}
ENTRIES = {
    "raising": "raising",
    "leaving": "leaving",
    "typo": "typo:Typo",
    "gone": "gone_module",
    "missing": "good:NoSuchClass",
    "value": "constant:VALUE",
    "thief": "thief",
    "shouting": "shouting",
    "package": "package",
    "importing": "importing",
    "good": "good:Good",
}
ASK = """
import json
from compressors import registry
print(json.dumps({
    "classes": {name: cls.__module__ for name, cls in registry.compressor_classes().items()},
    "broken": {p.name: p.reason for p in registry.broken_plugins()},
    "variants": list(registry.variants()),
}))
try:
    registry.build("planted-half")
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    """What a fresh process finds where those plugins are installed, and how it answers for a broken one."""
    site = tmp_path_factory.mktemp("site")
    for name, text in PLUGINS.items():
        (site / f"{name}.py").parent.mkdir(exist_ok=True)
        (site / f"{name}.py").write_text(text)
    info = site / "planted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    lines = "\n".join(f"{name} = {value}" for name, value in ENTRIES.items())
    (info / "entry_points.txt").write_text(f"[pressbench.compressors]\n{lines}\n")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return answers[0], answers[1]


def test_a_plugin_is_found_as_a_class_and_as_a_package(found: tuple[dict[str, Any], list[str]]) -> None:
    names = {"planted-good": "good", "planted-first": "package.first", "planted-later": "package.later"}
    assert {n: m for n, m in found[0]["classes"].items() if n.startswith("planted")} == names
    assert set(names) <= set(found[0]["variants"])


def test_the_built_ins_stay_whatever_plugins_do(found: tuple[dict[str, Any], list[str]]) -> None:
    own = {n: c.__module__ for n, c in registry.compressor_classes().items() if c.__module__.startswith("compressors.")}
    assert own.items() <= found[0]["classes"].items()
    assert found[0]["classes"]["int8-openvino"] == "compressors.quantization.int8_openvino"


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        ("raising = raising", "RuntimeError: first line second line"),
        ("leaving = leaving", "SystemExit: usage: leaving [options]"),
        ("typo = typo:Typo", "SyntaxError: "),
        ("gone = gone_module", "ModuleNotFoundError: No module named 'gone_module'"),
        ("missing = good:NoSuchClass", "AttributeError: "),
        ("value = constant:VALUE", "PressbenchError: an entry point must name a class, a module or a package, not 3"),
        ("thief = thief", "the name 'int8-openvino' is taken by compressors.quantization.int8_openvino"),
        ("shouting = shouting", "Shouting.name must be lower-case words joined by '-': 'Planted!'"),
        ("package.half", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
    ],
)
def test_a_broken_plugin_is_told_by_name_in_one_line(
    found: tuple[dict[str, Any], list[str]], plugin: str, reason: str
) -> None:
    assert reason in found[0]["broken"][plugin]
    assert "\n" not in found[0]["broken"][plugin]


def test_nothing_else_is_called_broken(found: tuple[dict[str, Any], list[str]]) -> None:
    assert len(found[0]["broken"]) == 9


def test_who_asks_for_a_broken_one_is_told_why_it_is_not_there(found: tuple[dict[str, Any], list[str]]) -> None:
    kind, message = found[1]
    assert kind == "PressbenchError"
    assert "unknown compressor 'planted-half'" in message
    assert "package.half could not be used: ModuleNotFoundError: No module named 'no_such_module_anywhere'" in message


# -- what decides an artifact ----------------------------------------------------------------------


def names(cls: type, *also: str) -> set[str]:
    files = [Path(p) for p in registry.source_closure(cls, *also)]
    return {p.relative_to(ROOT).as_posix() for p in files}


def test_the_code_that_decides_is_a_methods_own_and_what_it_imports() -> None:
    found = names(DistilLayers)
    assert {"compressors/distillation/layers.py", "compressors/training.py", "compressors/surgery.py"} <= found
    assert {"compressors/runtimes/export.py", "compressors/interface.py"} <= names(Int8Openvino)


def test_the_code_that_writes_an_artifact_decides_it_too() -> None:
    # How a runtime stores weights decides the bytes on disk, which are a result.
    for compressor in registry.variants().values():
        found = {Path(p).relative_to(ROOT).as_posix() for p in code_of(compressor)}
        assert names(type(compressor)) <= found
        assert {"compressors/artifact.py", "compressors/build.py", "compressors/runtimes/openvino.py"} <= found
    found = {Path(p).relative_to(ROOT).as_posix() for p in code_of(PruneVocabulary())}
    assert "compressors/distillation/layers.py" not in found


def test_editing_one_method_rebuilds_no_other() -> None:
    for cls in (DistilLayers, PruneVocabulary, Int8Openvino):
        others = {c.__module__ for c in (DistilLayers, PruneVocabulary, Int8Openvino) if c is not cls}
        assert not names(cls) & {f"{module.replace('.', '/')}.py" for module in others}
    assert "compressors/training.py" not in names(PruneVocabulary)


def test_a_plugins_code_is_its_own_package_and_ours_with_cycles_and_local_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "closure_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "method.py").write_text(
        "import json\nfrom closure_plugin.math import double\n"
        "class Method:\n    def run(self):\n        from compressors import surgery\n        import numpy\n"
    )
    (package / "math.py").write_text(
        "import closure_plugin.method\nfrom . import constants\ndef double(x): return 2 * x\n"
    )
    (package / "constants.py").write_text("TWO = 2\n")
    (package / "unrelated.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    cls = importlib.import_module("closure_plugin.method").Method
    found = {Path(p).name for p in registry.source_closure(cls)}
    assert {"method.py", "math.py", "surgery.py", "interface.py"} <= found
    assert "constants.py" in found, "a relative import is an import"
    assert "unrelated.py" not in found
    assert not any("site-packages" in p for p in registry.source_closure(cls))
