"""A mistake in targets.toml is told by file and key: a target that is silently not judged stays green."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from benchmarks.matrix.targets import Stated, Target, Targets, TargetsError, load_targets
from benchmarks.zoo import known_models
from compressors import registry
from compressors.interface import Compressed, Compressor, Context, Effect

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class _Method(Compressor):
    name: ClassVar[str] = "method"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "kernel"

    def compress(self, model: object, context: Context) -> Compressed:
        raise NotImplementedError


@dataclass(frozen=True)
class _Storage(_Method):
    effect: ClassVar[Effect] = "storage"


@dataclass(frozen=True)
class _Simulated(_Method):
    effect: ClassVar[Effect] = "simulated"


MODELS = {"minilm-bbc": Stated("accuracy_drop", ("1x128", "32x128")), "vit-digits": Stated("accuracy_drop")}
COMPRESSORS = {"int8-openvino": _Method(), "quantize-weights-8bit": _Storage(), "fake-quantize": _Simulated()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "targets.toml"


def load(file: Path, text: str) -> Targets:
    file.write_text(text, encoding="utf-8")
    return load_targets(file, MODELS, COMPRESSORS)


def test_what_is_stated_is_read(file: Path) -> None:
    found = load(
        file,
        """
        [minilm-bbc.int8-openvino]
        accuracy_drop = 0.02
        size = 0.27
        speed = { cpu-vnni = 2.5, cuda-sm90 = 3 }
        [minilm-bbc.quantize-weights-8bit]
        size = 1
        """,
    )
    assert found == {
        "minilm-bbc": {
            "int8-openvino": Target(accuracy_drop=0.02, size=0.27, speed={"cpu-vnni": 2.5, "cuda-sm90": 3.0}),
            "quantize-weights-8bit": Target(size=1.0),
        }
    }


def test_a_workload_has_a_speed_of_its_own(file: Path) -> None:
    found = load(file, "[minilm-bbc.int8-openvino.speed]\ncpu-vnni = 2.5\n1x128 = { cpu-vnni = 3 }")
    target = found["minilm-bbc"]["int8-openvino"]
    assert (target.speed_on("cpu-vnni", None), target.speed_on("cpu-vnni", "1x128")) == (2.5, 3)
    assert target.speed_on("cpu-amx", "1x128") is target.speed_on("cpu-vnni", "32x128") is None
    with pytest.raises(TargetsError, match=r"speed.1x129: no such workload; did you mean 1x128"):
        load(file, "[minilm-bbc.int8-openvino.speed]\n1x129 = { cpu-vnni = 3 }")
    with pytest.raises(TargetsError, match=r"speed.1x128.vnni: not a hardware class"):
        load(file, "[minilm-bbc.int8-openvino.speed]\n1x128 = { vnni = 3 }")


def test_what_may_be_lost_is_stated_as_the_task_is_scored(file: Path) -> None:
    file.write_text("[words.int8-openvino]\naccuracy_drop = 0.02")
    with pytest.raises(TargetsError, match=r"int8-openvino\] accuracy_drop: words is judged by perplexity_rise"):
        load_targets(file, {"words": Stated("perplexity_rise")}, COMPRESSORS)
    file.write_text("[words.int8-openvino]\nperplexity_rise = 0.02")
    found = load_targets(file, {"words": Stated("perplexity_rise")}, COMPRESSORS)
    assert found["words"]["int8-openvino"].perplexity_rise == 0.02


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[minilm-bcc.int8-openvino]", "[minilm-bcc]: unknown model; did you mean minilm-bbc?"),
        ("[minilm-bbc.int8-opnvino]", "[minilm-bbc.int8-opnvino]: no such case; did you mean int8-openvino?"),
        ("minilm-bbc = 3", "minilm-bbc must be a table of compressors"),
        ("[minilm-bbc]\nint8-openvino = 3", "[minilm-bbc.int8-openvino] the table: "),
        (
            "[minilm-bbc.int8-openvino]\nacuracy_drop = 0.02",
            "[minilm-bbc.int8-openvino] acuracy_drop: Extra inputs are not permitted, got 0.02; "
            "known keys: accuracy_drop, perplexity_rise, score_drop, agreement, worst_class_drop, ece_rise, size, "
            "speed",
        ),
    ],
    ids=["model", "case", "model-is-a-number", "case-is-a-number", "key"],
)
def test_a_name_that_is_unknown_comes_with_what_would_be_right(file: Path, text: str, told: str) -> None:
    with pytest.raises(TargetsError) as error:
        load(file, text)
    assert str(error.value).startswith(f"{file}: {told}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "key", "shown"),
    [
        ('accuracy_drop = "0.02"', "accuracy_drop", "'0.02'"),
        ("accuracy_drop = true", "accuracy_drop", "True"),
        ("accuracy_drop = 2.0", "accuracy_drop", "2.0"),  # two points, meant as 0.02
        ("accuracy_drop = 0", "accuracy_drop", "0"),
        ("accuracy_drop = -0.02", "accuracy_drop", "-0.02"),
        ("accuracy_drop = nan", "accuracy_drop", "nan"),
        ("size = inf", "size", "inf"),
        ("size = 0.0", "size", "0.0"),
        ("size = [0.5]", "size", "[0.5]"),
        ("speed = 2.5", "speed", "2.5"),
        ("speed = { cpu-vnni = nan }", "speed.cpu-vnni", "nan"),
        ('speed = { cpu-vnni = "2.5x" }', "speed.cpu-vnni", "'2.5x'"),
        ("speed = { cpu-vnni = -1 }", "speed.cpu-vnni", "-1"),
    ],
)
def test_a_value_that_cannot_be_meant_is_told_by_its_key(file: Path, line: str, key: str, shown: str) -> None:
    with pytest.raises(TargetsError) as error:
        load(file, f"[minilm-bbc.int8-openvino]\n{line}")
    message = str(error.value)
    assert message.startswith(f"{file}: [minilm-bbc.int8-openvino] {key}: ")
    assert message.endswith(f"got {shown}")
    assert "\n" not in message


@pytest.mark.parametrize(
    "hardware_class", ["cpu", "cpu-", "cpu-vnnni", "vnni", "cpu_vnni", "cuda-90", "cuda-sm", "tpu-v4"]
)
def test_a_speed_for_hardware_that_cannot_exist_is_refused(file: Path, hardware_class: str) -> None:
    # It would be judged nowhere, and nobody would notice.
    with pytest.raises(TargetsError) as error:
        load(file, f"[minilm-bbc.int8-openvino]\nspeed = {{ {hardware_class} = 2.5 }}")
    assert str(error.value).startswith(
        f"{file}: [minilm-bbc.int8-openvino] speed.{hardware_class}: not a hardware class"
    )


@pytest.mark.parametrize(("case", "effect"), [("quantize-weights-8bit", "storage"), ("fake-quantize", "simulated")])
def test_a_speed_target_on_a_method_that_claims_none_is_refused(file: Path, case: str, effect: str) -> None:
    with pytest.raises(
        TargetsError, match=f"speed: the effect of {case} is '{effect}'; only 'kernel' may claim a speed"
    ):
        load(file, f"[minilm-bbc.{case}]\nspeed = {{ cpu-vnni = 1.1 }}")


def test_broken_toml_is_one_line_with_the_place(file: Path) -> None:
    with pytest.raises(TargetsError) as error:
        load(file, "[minilm-bbc.int8-openvino]\nsize = = 3\n")
    assert str(error.value).startswith(f"{file}: ")
    assert "line 2" in str(error.value)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_one_line(file: Path) -> None:
    file.write_bytes(b"\xff\xfe[")
    with pytest.raises(TargetsError, match=str(file)):
        load_targets(file, MODELS, COMPRESSORS)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TargetsError, match=r"nowhere\.toml: not found"):
        load_targets(tmp_path / "nowhere.toml", MODELS, COMPRESSORS)
    with pytest.raises(TargetsError, match=f"{tmp_path}: cannot be read: Is a directory"):
        load_targets(tmp_path, MODELS, COMPRESSORS)


@pytest.mark.parametrize("text", ["", "\n", "# [minilm-bbc.int8-openvino]\n# size = 0.27\n"])
def test_a_file_that_promises_nothing_is_one_line(file: Path, text: str) -> None:
    with pytest.raises(TargetsError) as error:
        load(file, text)
    assert str(error.value).startswith(f"{file}: nothing is promised there: ")
    assert "\n" not in str(error.value)


def test_an_empty_table_promises_nothing_on_purpose(file: Path) -> None:
    assert load(file, "[minilm-bbc]\n") == {}


def test_the_targets_that_are_shipped_are_sound() -> None:
    stated = {name: Stated.of(model) for name, model in known_models().items()}
    found = load_targets(ROOT / "baselines" / "targets.toml", stated, registry.variants("full"))
    assert found["minilm-bbc"]["int8-openvino"].speed["cpu-vnni"] > 1
    for cases in found.values():
        for name, target in cases.items():
            assert target != Target(), f"{name}: nothing is stated"


def test_files_in_the_folder_beside_are_read_too(file: Path) -> None:
    beside = file.with_suffix(".d")
    beside.mkdir()
    (beside / "mine.toml").write_text("[vit-digits.quantize-weights-8bit]\nsize = 0.3\n")
    (beside / "notes.txt").write_text("no targets")
    found = load(file, "[vit-digits.int8-openvino]\nsize = 0.5\n")
    assert found == {"vit-digits": {"int8-openvino": Target(size=0.5), "quantize-weights-8bit": Target(size=0.3)}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[vit-digits.int8-openvino]\nsize = 9.0\n", r"\[vit-digits.int8-openvino\]: .*targets.toml states it too"),
        ("[vit-digits.int8-openvin]\nsize = 9.0\n", r"no such case; did you mean int8-openvino"),
        ("", "nothing is promised there"),
        ("[vit-digits\n", "Expected"),
    ],
)
def test_a_mistake_beside_is_told_by_its_file(file: Path, text: str, said: str) -> None:
    beside = file.with_suffix(".d")
    beside.mkdir()
    (beside / "mine.toml").write_text(text)
    with pytest.raises(TargetsError, match=rf"mine.toml: .*{said}"):
        load(file, "[vit-digits.int8-openvino]\nsize = 0.5\n")
