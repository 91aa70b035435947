"""Products of fp32 matrices by the fastest library: in fp32, whichever that is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from ganzoo.runtime.cpu_kernels import onednn_is_faster
from ganzoo.runtime.device import fp32_products

CPU = torch.device("cpu")
PRODUCTS = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
ZEN5 = {"cpu_name": "AMD EPYC", "avx512_f": True, "avx512_vp2intersect": True}


@pytest.fixture(autouse=True)
def _looks_anew() -> Iterator[None]:
    onednn_is_faster.cache_clear()
    yield
    onednn_is_faster.cache_clear()


def on(monkeypatch: pytest.MonkeyPatch, **capabilities: object) -> None:
    """Have torch report a processor with these capabilities."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


def test_products_are_in_fp32():
    """Factors rounded to bf16 would be off by 0.1 here."""
    left, right = torch.randn(2, 400, 400, generator=torch.Generator().manual_seed(0))
    with fp32_products(CPU):
        error = (left @ right).double() - left.double() @ right.double()
    assert error.abs().max() < 1e-3


@pytest.mark.parametrize(
    "capabilities",
    [
        {},
        {"cpu_name": "Intel(R) Xeon(R)", "avx512_f": True, "avx512_vp2intersect": True},
        {"cpu_name": "AMD EPYC", "avx512_f": True},
    ],
)
def test_other_processors_multiply_as_torch_does(monkeypatch, capabilities):
    on(monkeypatch, **capabilities)
    before = PRODUCTS.fp32_precision
    with fp32_products(CPU):
        assert PRODUCTS.fp32_precision == before


def test_a_torch_that_does_not_tell_the_processor_multiplies_as_before(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not onednn_is_faster()


def test_onednn_is_left_out_where_it_rounds(monkeypatch):
    on(monkeypatch, **ZEN5)
    monkeypatch.setattr(torch, "allclose", lambda *_, **__: False)
    assert not onednn_is_faster()


@pytest.mark.skipif(
    not getattr(torch.cpu, "_is_avx512_supported", lambda: False)() or torch.cpu._is_amx_tile_supported(),
    reason="needs AVX-512, without AMX",
)
def test_onednn_multiplies_on_zen_5_and_torch_s_own_way_comes_back(monkeypatch):
    on(monkeypatch, **ZEN5)
    before = PRODUCTS.fp32_precision
    with fp32_products(CPU):
        assert PRODUCTS.fp32_precision == "bf16"
        with fp32_products(CPU, tf32="convolutions"):  # torch's own default
            assert PRODUCTS.fp32_precision == "ieee"
        assert PRODUCTS.fp32_precision == "bf16"
    assert PRODUCTS.fp32_precision == before
