"""Folders that quantization libraries wrote with their own code: they run as transformers reads them, and are counted.

Each needs its library: `pip install -c constraints.txt -e ".[dev,quantized]"`, which has not all of them, and
`pip install auto-round optimum`, `pip install --no-build-isolation gptqmodel` (its set-up wants torch to be there).
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from compressors.artifact import Artifact
from compressors.build import build_step
from compressors.given.given import Given
from compressors.interface import Context, Hardware, Unsupported

sys.path.append(str(Path(__file__).parents[2]))
from packed_folders import compressed_tensors
from tiny_architectures import Subject, make

CPU = Hardware("cpu", "cpu-other")


def _bitsandbytes(dense: Path, folder: Path, **how: Any) -> None:
    config = transformers.BitsAndBytesConfig(**how)
    _read(dense, quantization_config=config, device_map="cpu").save_pretrained(folder)


def nf4(dense: Path, folder: Path) -> None:
    _bitsandbytes(dense, folder, load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)


def llm_int8(dense: Path, folder: Path) -> None:
    _bitsandbytes(dense, folder, load_in_8bit=True)


def torchao_weights(dense: Path, folder: Path) -> None:
    from torchao.quantization import Int8WeightOnlyConfig

    config = transformers.TorchAoConfig(Int8WeightOnlyConfig())
    _read(dense, quantization_config=config, device_map="cpu").save_pretrained(folder)


def torchao_products(dense: Path, folder: Path) -> None:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig

    config = transformers.TorchAoConfig(Int8DynamicActivationInt8WeightConfig())
    _read(dense, quantization_config=config, device_map="cpu").save_pretrained(folder)


def four_bits(dense: Path, folder: Path) -> None:
    """By compressed-tensors, in groups of 32, rounded to nearest."""
    compressed_tensors(dense, folder, left=("lm_head",))


def autoround(dense: Path, folder: Path) -> None:
    """Its format, with nothing learnt."""
    import tokenizers
    from auto_round import AutoRound

    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="a")
    quantizer = AutoRound(
        _read(dense), tokenizer, bits=4, group_size=32, sym=True, iters=0, disable_opt_rtn=True, device_map="cpu"
    )
    quantizer.quantize_and_save(str(folder.parent / "made"), format="auto_round")
    (made,) = (path.parent for path in (folder.parent / "made").rglob("config.json"))
    made.rename(folder)


def gptq(dense: Path, folder: Path) -> None:
    """By GPTQModel, on random tokens."""
    from gptqmodel import GPTQModel
    from gptqmodel.quantization import GPTQConfig
    from tokenizers import Tokenizer, models

    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), unk_token="a", pad_token="a"
    )
    words.save_pretrained(dense)  # it loads no model without a tokenizer beside it
    config = GPTQConfig(bits=4, group_size=32, sym=True, desc_act=False, device="cpu", offload_to_disk=False)
    model = GPTQModel.load(str(dense), config, dtype=torch.float32)
    model.prepare_dataset = functools.partial(model.prepare_dataset, calibration_data_min_length=0)
    texts = torch.randint(4, 300, (8, 32), generator=torch.Generator().manual_seed(0)).tolist()
    model.quantize([{"input_ids": text, "attention_mask": [1] * len(text)} for text in texts])
    model.save(str(folder))


def _read(folder: Path, **more: Any) -> Any:
    model: nn.Module = transformers.LlamaForCausalLM.from_pretrained(folder, local_files_only=True, **more)
    return model.eval()


MADE: dict[str, tuple[str, Callable[[Path, Path], None], str, float]] = {
    "nf4": ("bitsandbytes", nf4, "int4", 0.3),
    "llm-int8": ("bitsandbytes", llm_int8, "int8", 0.03),
    "torchao-weights": ("torchao", torchao_weights, "float32", 0.03),
    "torchao-products": ("torchao", torchao_products, "int8", 0.03),
    "compressed-tensors": ("compressed_tensors", four_bits, "float32", 0.3),
    "gptq": ("gptqmodel", gptq, "int4", 0.5),
    "autoround": ("auto_round", autoround, "float16", 0.3),
}
"""What was made -> its library, how, the narrowest operand of its products, and how far its answers are from the dense
model's at most, over their deviation."""


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Path]:
    folder = tmp_path_factory.mktemp("dense")
    subject = make("llama", folder / "subject")
    subject.model.save_pretrained(folder / "dense")
    return subject, folder / "dense"


def taken(folder: Path, subject: Subject, into: Path) -> Artifact:
    given = Given(str(folder))
    assert not [name for name in given.requires if importlib.util.find_spec(name) is None]
    looked = given.looked()
    given.fit(looked, subject.spec)
    context = Context(subject.spec, CPU, subject.dense.model)
    return build_step(replace(given, sha256=looked.sha256), subject.dense, context, into)


@pytest.mark.parametrize("name", MADE)
def test_what_a_library_saved_runs_as_it_reads_it(
    name: str, dense: tuple[Subject, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, quantize, narrowest, error = MADE[name]
    # GPTQModel takes half as many threads as there are processors, and on two of them waits for ever for a second.
    monkeypatch.setenv("GPTQMODEL_CPU_WORKERS", "2")
    monkeypatch.setenv("GPTQMODEL_DISABLE_PACK_EXT", "1")  # which wants a compiler
    pytest.importorskip(library, reason="needs the extra 'quantized'")
    subject, folder = dense
    monkeypatch.chdir(tmp_path)  # some keep a log where they are
    quantize(folder, tmp_path / "given")
    made = taken(tmp_path / "given", subject, tmp_path / "artifact")
    ids = np.arange(4, 20, dtype=np.int64).reshape(2, 8)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    with torch.inference_mode():
        wanted = _read(tmp_path / "given", dtype="auto")(**{k: torch.from_numpy(v) for k, v in inputs.items()}).logits
    found, before = made.load()(inputs), subject.dense.load()(inputs)
    np.testing.assert_allclose(found, wanted.float().numpy(), atol=1e-5)
    assert 0 < np.sqrt(np.mean((found - before) ** 2)) < error * before.std()
    assert made.disk_bytes < 0.6 * subject.dense.disk_bytes
    assert made.inventory().parameters == subject.dense.inventory().parameters
    executed, whole = made.executed(inputs), subject.dense.executed(inputs)
    assert executed and whole and executed.total == whole.total, "as many as before, on narrower operands"
    assert executed.operations[narrowest] > 0.5 * executed.total
    generator = made.generator()
    first = generator.prefill(ids)
    assert np.array_equal(first, found[:, -1].argmax(1)) and generator.decode(first, 3).shape == (2, 3)


def test_a_copy_answers_by_its_own_weights(dense: tuple[Subject, Path], tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason="needs the extra 'quantized'")
    subject, folder = dense
    four_bits(folder, tmp_path / "given")
    model = taken(tmp_path / "given", subject, tmp_path / "artifact").model()
    ids = torch.tensor([[4, 5, 6]])
    with torch.inference_mode():
        before = model(ids).logits.clone()
        other = copy.deepcopy(model)
        other.get_input_embeddings().weight.mul_(-1.0)
        changed = other(ids).logits
        assert torch.equal(model(ids).logits, before) and not torch.allclose(changed, before)
    assert type(model).__name__ == "LlamaForCausalLM" and isinstance(model, transformers.LlamaForCausalLM)


def test_a_layout_that_a_library_does_not_run_is_its_reason(dense: tuple[Subject, Path], tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra 'quantized'")
    subject, folder = dense
    nf4(folder, tmp_path / "given")
    made = taken(tmp_path / "given", subject, tmp_path / "artifact")
    model = made.model()

    def kernel(*_: Any) -> Any:
        raise AssertionError("N must be divisible by block_n")

    model.get_submodule("model.layers.0.mlp.up_proj").forward = kernel  # as it says it of a width of 66
    with pytest.raises(Unsupported, match=r"^bitsandbytes does not run it here: N must be divisible by block_n$"):
        model(torch.tensor([[4, 5]]))
