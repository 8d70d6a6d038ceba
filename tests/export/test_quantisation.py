"""Codebooks: k-means of one layer's values."""

from __future__ import annotations

import pytest
import torch

from pyro_vd.export.quantisation import codebook


@pytest.mark.parametrize("number", [5_000, 150_000])
def test_codebook_is_the_best_near_its_start(number: int) -> None:
    """k-means never ends worse than it starts, and every value goes to its nearest entry."""
    values = torch.cat([0.3 * torch.randn(number), 3 + 0.1 * torch.randn(50)])
    codes, book = codebook(values)
    assert (codes.dtype, codes.shape, book.shape, book.dtype) == (torch.uint8, values.shape, (64,), values.dtype)
    error = (values - book[codes.long()]).square().sum()
    steps = torch.linspace(float(values.min()), float(values.max()), 64)
    assert error < (values[:, None] - steps).square().amin(1).sum()
    assert torch.allclose(error, (values[:, None] - book).square().amin(1).sum(), rtol=1e-5)


@pytest.mark.parametrize("different", [0, 1, 2, 64])
def test_few_different_values_are_exact(different: int) -> None:
    values = torch.randn(different).repeat(9)
    codes, book = codebook(values)
    assert torch.equal(book[codes.long()], values)
    assert len(book) == different
