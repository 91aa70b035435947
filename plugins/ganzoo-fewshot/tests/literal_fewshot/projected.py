"""Projected GAN's mixing and discriminators as its authors' code describes them, on given feature maps."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.utils import spectral_norm


class FeatureFusionBlock(nn.Module):
    def __init__(self, features, expand=False):
        super().__init__()
        self.out_conv = nn.Conv2d(features, features // 2 if expand else features, 1)

    def forward(self, *xs):
        output = xs[0]
        if len(xs) == 2:
            output = output + xs[1]
        output = nn.functional.interpolate(output, scale_factor=2, mode="bilinear", align_corners=True)
        return self.out_conv(output)


class Projector(nn.Module):
    def __init__(self, in_channels, cout):
        super().__init__()
        out = [cout, cout * 2, cout * 4, cout * 8]
        self.layer0_ccm, self.layer1_ccm, self.layer2_ccm, self.layer3_ccm = (
            nn.Conv2d(i, o, 1, 1, 0) for i, o in zip(in_channels, out, strict=True)
        )
        self.layer0_csm = FeatureFusionBlock(out[0])
        self.layer1_csm = FeatureFusionBlock(out[1], expand=True)
        self.layer2_csm = FeatureFusionBlock(out[2], expand=True)
        self.layer3_csm = FeatureFusionBlock(out[3], expand=True)

    def forward(self, out0, out1, out2, out3):
        ccm0, ccm1, ccm2, ccm3 = (
            self.layer0_ccm(out0),
            self.layer1_ccm(out1),
            self.layer2_ccm(out2),
            self.layer3_ccm(out3),
        )
        csm3 = self.layer3_csm(ccm3)
        csm2 = self.layer2_csm(csm3, ccm2)
        csm1 = self.layer1_csm(csm2, ccm1)
        csm0 = self.layer0_csm(csm1, ccm0)
        return [csm0, csm1, csm2, csm3]


class SingleDisc(nn.Module):
    def __init__(self, nc, start_sz, end_sz=8):
        super().__init__()
        nfc = {4: 512, 8: 512, 16: 256, 32: 128, 64: 64, 128: 64, 256: 32, 512: 16, 1024: 8}
        if start_sz not in nfc:
            sizes = np.array(list(nfc))
            start_sz = int(sizes[np.argmin(abs(sizes - start_sz))])
        nfc[start_sz] = nc
        layers = []
        while start_sz > end_sz:
            layers += [
                spectral_norm(nn.Conv2d(nfc[start_sz], nfc[start_sz // 2], 4, 2, 1)),
                nn.BatchNorm2d(nfc[start_sz // 2]),
                nn.LeakyReLU(0.2),
            ]
            start_sz = start_sz // 2
        layers.append(spectral_norm(nn.Conv2d(nfc[end_sz], 1, 4, 1, 0, bias=False)))
        self.main = nn.Sequential(*layers)

    def forward(self, x):
        return self.main(x)


class MultiScaleD(nn.Module):
    def __init__(self, channels, resolutions):
        super().__init__()
        self.mini_discs = nn.ModuleList(SingleDisc(nc, res) for nc, res in zip(channels, resolutions, strict=True))

    def forward(self, features):
        logits = [
            disc(feature).view(feature.size(0), -1) for disc, feature in zip(self.mini_discs, features, strict=True)
        ]
        return torch.cat(logits, dim=1)
