"""low-rank-embedding: the best there is for the tokens that occur; smaller on disk; what was one matrix stays one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_architectures import make
from torch import nn

from compressors import conformance, surgery
from compressors.build import build
from compressors.interface import Context, ModelSpec, PressbenchError, Unsupported
from compressors.low_rank.embedding import LowRankEmbedding, occurrences
from compressors.low_rank.thin_embedding import ThinEmbedding, ThinHead
from compressors.quantization.weights import QuantizeWeights
from compressors.runtimes.generation import read_bytes

ALONE = LowRankEmbedding(rank_ratio=0.25, recovery_epochs=0)


def counted(subject: conformance.Subject) -> np.ndarray:
    """How often each token occurs, padding left out, by a plain loop."""
    found: Counter[int] = Counter()
    for row, kept in zip(*(subject.examples.inputs[n].tolist() for n in ("input_ids", "attention_mask")), strict=True):
        found.update(token for token, real in zip(row, kept, strict=True) if real)
    return np.array([found[token] for token in range(int(subject.spec.config["vocab_size"]))], dtype=np.float64)


def table(model: nn.Module) -> ThinEmbedding:
    found = model.get_input_embeddings()  # type: ignore[operator]
    assert isinstance(found, ThinEmbedding)
    return found


@pytest.mark.parametrize("smoothing", [1.0, 20.0])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_no_table_of_that_rank_is_nearer_where_tokens_occur(kind: str, smoothing: float) -> None:
    subject = conformance.subject(kind)
    method = LowRankEmbedding(rank_ratio=0.25, recovery_epochs=0, smoothing=smoothing)
    dense = subject.dense.model()
    weight = surgery.get(dense, str(surgery.word_embedding(dense))).weight.detach().double().numpy()
    thin = table(method.compress(dense, subject.context(method)).model)
    counts = counted(subject) + smoothing
    factors = [thin.first.weight.detach().double().numpy(), thin.second.weight.detach().double().numpy().T]

    def error(wide: np.ndarray, narrow: np.ndarray) -> float:
        return float((counts[:, None] * np.square(weight - wide @ narrow)).sum())

    found = error(*factors)
    tail = np.linalg.svd(np.sqrt(counts)[:, None] * weight, compute_uv=False)[16:]
    assert factors[0].shape == (600, 16)
    assert found == pytest.approx(float(np.square(tail).sum()), rel=1e-5)
    coin = np.random.default_rng(0)
    for size in (0.1, 0.01, 0.001):
        for _ in range(10):
            assert error(*(m + size * np.abs(m).mean() * coin.normal(size=m.shape) for m in factors)) > found
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    assert found < error(left[:, :16] * values[:16], right[:16])  # the plain truncation


def test_padding_is_not_counted_and_a_decoder_reads_too(tmp_path: Path) -> None:
    bert, t5 = conformance.subject("bert"), make("t5", tmp_path)
    assert occurrences(bert.examples, 600).numpy() == pytest.approx(counted(bert))
    assert counted(bert)[0] == 0
    inputs, labels = t5.examples.inputs, t5.examples.labels
    read = [*inputs["input_ids"][inputs["attention_mask"] == 1].tolist()]
    read += inputs["decoder_input_ids"][labels != -100].tolist()
    assert occurrences(t5.examples, 320).numpy() == pytest.approx(np.bincount(read, minlength=320))


def test_a_tied_model_is_stored_once_and_reloads_tied(tmp_path: Path) -> None:
    subject = conformance.subject("llama")
    method = LowRankEmbedding(rank_ratio=0.25, recovery_epochs=0.1)
    made = build([method], subject.dense, subject.context(method), tmp_path)
    with safe_open(made.directory / "model.safetensors", "np") as file:
        stored = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    shapes = [s for s in stored if 600 in s or s == [64, 16]]
    assert sorted(shapes) == [[64, 16], [600, 16]]
    smaller = 4 * (600 * 64 - 16 * 664)
    assert subject.dense.disk_bytes - made.disk_bytes == pytest.approx(smaller, rel=0.05)
    model = made.model()
    head = model.lm_head
    assert isinstance(head, ThinHead)
    thin = table(model)
    assert head.table.first.weight is thin.first.weight and head.table.second.weight is thin.second.weight
    states = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    whole = thin.first.weight @ thin.second.weight.T
    assert torch.allclose(head(states), states @ whole.T, atol=1e-4)
    dense_ops = subject.dense.executed({n: v[:2].numpy() for n, v in subject.examples.inputs.items()})
    ops = made.executed({n: v[:2].numpy() for n, v in subject.examples.inputs.items()})
    assert ops and dense_ops and ops.total < dense_ops.total
    assert read_bytes(subject.dense.model()) - read_bytes(model) == smaller


def test_an_output_layer_of_its_own_stays(tmp_path: Path) -> None:
    subject = make("llama", tmp_path)  # not tied
    context = Context(subject.spec, conformance.HARDWARE, subject.dense.model, training=subject.examples)
    before = subject.dense.model()
    made = build([ALONE], subject.dense, context, tmp_path / "made").model()
    assert type(made.lm_head) is nn.Linear and torch.equal(made.lm_head.weight, before.lm_head.weight)


@pytest.mark.parametrize(
    ("name", "tables", "heads"),
    [("gemma3", 1, 1), ("roberta", 1, 0), ("albert", 1, 0), ("opt", 1, 1), ("bart", 3, 1), ("bart-classifier", 3, 0),
     ("t5", 3, 1), ("marian", 3, 1), ("gpt2", 1, 1), ("deberta", 1, 0)],
)  # fmt: skip
def test_it_answers_as_the_dense_model_with_the_product_for_its_table(
    name: str, tables: int, heads: int, tmp_path: Path
) -> None:
    """Scales, padding, positions that begin elsewhere, encoder and decoder, and the output layer: all as they were."""
    subject = make(name, tmp_path)
    context = Context(subject.spec, conformance.HARDWARE, subject.dense.model, training=subject.examples)
    made = build([ALONE], subject.dense, context, tmp_path / "made").model()
    thin = [module for module in made.modules() if isinstance(module, ThinEmbedding)]
    assert len(thin) <= tables and sum(isinstance(m, ThinHead) for m in made.modules()) == heads
    dense = subject.dense.model()
    old = dense.get_input_embeddings()
    with torch.no_grad():
        old.weight.copy_(thin[0].first.weight @ thin[0].second.weight.T)
        wanted, found = (model(**subject.examples.inputs).logits for model in (dense, made))
    assert thin[0].padding_idx == old.padding_idx
    assert torch.allclose(wanted, found, atol=1e-4 * float(wanted.abs().max()))
    others = [
        n for n, v in made.named_parameters() if v.shape == old.weight.shape and "position" not in n and "head" not in n
    ]
    assert not others


def test_a_tied_output_layer_keeps_its_bias() -> None:
    subject = conformance.subject("llama")
    model = subject.dense.model()
    bias = torch.randn(600, generator=torch.Generator().manual_seed(0))
    model.lm_head.bias = nn.Parameter(bias.clone())
    made = ALONE.compress(model, subject.context(ALONE)).model
    states = torch.zeros(2, 64)
    assert torch.equal(made.lm_head(states), bias.expand(2, -1))


def test_padding_keeps_its_row(tiny_bert: conformance.Subject) -> None:
    method = LowRankEmbedding(rank_ratio=0.25, recovery_epochs=0.1)
    dense = tiny_bert.dense.model()
    with torch.no_grad():
        dense.get_input_embeddings().weight[0] = 0
    thin = table(method.compress(dense, tiny_bert.context(method)).model)
    assert thin.padding_idx == 0
    assert float(thin(torch.tensor([0])).detach().abs().max()) == 0
    assert float(thin(torch.tensor([5])).detach().abs().max()) > 0


def test_what_does_not_fit_is_told_in_one_line(tiny_bert: conformance.Subject) -> None:
    def reason(spec: ModelSpec, ratio: float = 0.5) -> str:
        return str(LowRankEmbedding(rank_ratio=ratio).supports(spec, conformance.HARDWARE))

    assert reason(conformance.subject("vit").spec) == "the model has no vocabulary"
    assert reason(tiny_bert.spec, 0.95) == "rank_ratio 0.95 makes its embedding, 600 x 64, no smaller"
    assert reason(tiny_bert.spec) == reason(conformance.subject("llama").spec) == "None"

    class Clipped(nn.Embedding):
        pass

    class Shifted(nn.Embedding):
        embed_scale = 1.0

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return super().forward(ids) + 1

    for other, told in (
        (nn.Embedding(600, 64, max_norm=1.0), "shortens its rows"),
        (Clipped(600, 64), "is a Clipped, more than a table"),
        (Shifted(600, 64), "answers with more than the rows"),
    ):
        model = tiny_bert.dense.model()
        model.set_input_embeddings(other)
        with pytest.raises((surgery.UnknownStructure, Unsupported), match=told):
            ALONE.compress(model, tiny_bert.context(ALONE))
    model = tiny_bert.dense.model()
    with torch.no_grad():
        model.get_input_embeddings().weight[3] = float("nan")
    with pytest.raises(PressbenchError, match=r"low-rank-embedding: a weight of the token embedding is not finite"):
        ALONE.compress(model, tiny_bert.context(ALONE))
    llama = conformance.subject("llama").dense.model()
    llama.also = nn.Bilinear(2, 2, 2)
    llama.also.weight = llama.get_input_embeddings().weight
    with pytest.raises(surgery.UnknownStructure, match=r"also\.weight is its token embedding too"):
        ALONE.compress(llama, conformance.subject("llama").context(ALONE))


def test_codes_behind_it_are_shared_too(tmp_path: Path) -> None:
    subject, then = conformance.subject("llama"), QuantizeWeights(bits=8)
    made = build([ALONE, then], subject.dense, subject.context(ALONE), tmp_path)
    with safe_open(made.directory / "model.safetensors", "np") as file:
        tables = [name for name in file.keys() if file.get_slice(name).get_shape() == [600, 16]]  # noqa: SIM118
        assert [file.get_tensor(name).dtype for name in tables] == [np.uint8]
    before = build([ALONE], subject.dense, subject.context(ALONE), tmp_path / "before").model()
    with torch.no_grad():
        found, wanted = (model(**subject.examples.inputs).logits for model in (made.model(), before))
    assert float((found - wanted).norm()) < 0.05 * float(wanted.norm())


@pytest.mark.parametrize("smoothing", [-1.0, float("nan"), float("inf")])
def test_a_wrong_smoothing_is_named(smoothing: float) -> None:
    with pytest.raises(ValueError, match=f"smoothing = {smoothing}: must be 0 or more occurrences"):
        LowRankEmbedding(smoothing=smoothing)
