"""Spliced inputs look like real ones, and are none of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.measure.ring import Ring, prompts, spliced
from compressors.interface import Examples


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_spliced_text_keeps_its_length_its_beginning_and_its_end(side: str) -> None:
    lengths = np.array([8, 6, 5, 7])
    places = np.arange(8)
    mask = places < lengths[:, None] if side == "right" else places >= 8 - lengths[:, None]
    ids = np.where(mask, 100 * (1 + np.arange(4))[:, None] + places, 0)
    rows, partners = np.array([0, 1, 2, 3] * 20), np.array([1, 2, 3, 0] * 20)
    found = spliced(ids, rows, partners, np.random.default_rng(0).random(80), mask.astype(int))
    for row, partner, text in zip(rows, partners, found, strict=True):
        own, other = ids[row][mask[row]], ids[partner][mask[partner]]
        made = text[mask[row]]
        assert (text[~mask[row]] == 0).all()
        assert made[0] == own[0] and made[-1] == own[-1]
        assert all(token in own or token in other for token in made)
    assert np.mean([not np.array_equal(text, ids[row]) for row, text in zip(rows, found, strict=True)]) > 0.5


def test_masks_and_types_are_left_alone() -> None:
    types = np.array([[0, 0, 1, 1], [0, 1, 1, 1]])
    assert np.array_equal(spliced(types, np.array([0, 1]), np.array([1, 0]), np.array([0.5, 0.5]), None), types)


def test_pictures_are_cut_along_their_rows() -> None:
    pictures = np.stack([np.full((1, 6, 6), value, np.float32) for value in (1, 2)])
    (found,) = spliced(pictures, np.array([0]), np.array([1]), np.array([0.4]), None)
    assert (found[0] == found[0][:, :1]).all(), "whole rows"
    assert found[0, 0, 0] == 1 and found[0, -1, 0] == 2


def test_examples_are_given_once_before_any_comes_again() -> None:
    ring = Ring(Examples({"pixel_values": torch.arange(10.0).reshape(10, 1)}), 3, None)
    first = np.concatenate([batch["pixel_values"] for batch in ring.batches(1, 0, 3)]).ravel()
    assert len(set(first.tolist())) == 9
    assert len(ring.batches(1, 0, 50)) == 50, "and then again"
    other = np.concatenate([batch["pixel_values"] for batch in ring.batches(1, 1, 3)]).ravel()
    assert first.tolist() != other.tolist()


def test_fewer_examples_than_a_batch_come_over_again() -> None:
    ring = Ring(Examples({"pixel_values": torch.arange(2.0).reshape(2, 1)}), 5, None)
    rows, given = ring.real(0)
    assert rows.tolist() == [0, 1, 0, 1, 0] and given["pixel_values"].ravel().tolist() == [0, 1, 0, 1, 0]
    assert ring.real(1) is None
    assert ring.batches(0, 0, 1)[0]["pixel_values"].shape == (5, 1)


def test_prompts_are_pieces_of_the_texts() -> None:
    ids = np.arange(1, 41).reshape(4, 10)
    mask = np.ones_like(ids)
    mask[:, 7:] = 0
    text = ids[mask != 0].tolist() * 2
    found = prompts({"input_ids": ids, "attention_mask": mask}, 2, 6, 0, 5, seed=3)
    assert found.shape == (5, 2, 6)
    assert len({row.tobytes() for row in found.reshape(10, 6)}) == 10
    assert all(any(text[i : i + 6] == row.tolist() for i in range(28)) for row in found.reshape(10, 6))
