"""Gives a transcription the weights of a network, layer by layer, in the order in which each lists them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized


def weighted(module):
    return [m for m in module.modules() if next(m.parameters(recurse=False), None) is not None or is_parametrized(m)]


@torch.no_grad()
def exact_spectral_norms(network):
    """Set the vectors of each estimate to the singular ones, where any order of the power iteration stays."""
    for module in network.modules():
        if is_parametrized(module):
            norm = module.parametrizations.weight[0]
            original = module.parametrizations.weight.original
            matrix = original.transpose(0, norm.dim).flatten(1)  # as torch reshapes it for a transposed convolution
            left, _, right = torch.linalg.svd(matrix.double(), full_matrices=False)
            norm._u.copy_(left[:, 0])
            norm._v.copy_(right[0])


@torch.no_grad()
def copy_layers(ours, theirs):
    """Copy to the transcription's layers those of `ours`, whose norms get random gains and noises some strength."""
    mine, other = weighted(ours), weighted(theirs)
    mine = [
        m
        for m in mine
        if (not isinstance(m, nn.ParameterList) and "Parametriz" not in type(m).__name__) or is_parametrized(m)
    ]
    assert len(mine) == len(other), (len(mine), len(other))
    for here, there in zip(mine, other, strict=True):
        if is_parametrized(here):
            original = here.parametrizations.weight.original
            assert original.shape == there.weight_orig.shape
            there.weight_orig.copy_(original)
            there.weight_u.copy_(here.parametrizations.weight[0]._u)
            there.weight_v.copy_(here.parametrizations.weight[0]._v)
            if here.bias is not None:
                there.bias.copy_(here.bias)
            continue
        for parameter in here.parameters(recurse=False):
            if not isinstance(here, nn.Conv2d):
                parameter.add_(torch.randn_like(parameter) * 0.1)
        there.load_state_dict(here.state_dict())
