"""FastGAN as its authors' code describes it: layer after layer, by name, 256 to 1024 pixels; tanh at every size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import spectral_norm

GENERATOR = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5, 512: 0.25, 1024: 0.125}
DISCRIMINATOR = {4: 16, 8: 16, 16: 8, 32: 4, 64: 2, 128: 1, 256: 0.5, 512: 0.25, 1024: 0.125}


def conv(*args, **kwargs):
    return spectral_norm(nn.Conv2d(*args, **kwargs, bias=False))


class GLU(nn.Module):
    def forward(self, x):
        half = x.size(1) // 2
        return x[:, :half] * torch.sigmoid(x[:, half:])


class NoiseInjection(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, feat):
        batch, _, height, width = feat.shape
        return feat + self.weight * torch.randn(batch, 1, height, width)


class Swish(nn.Module):
    def forward(self, feat):
        return feat * torch.sigmoid(feat)


class SEBlock(nn.Module):
    def __init__(self, ch_in, ch_out):
        super().__init__()
        self.main = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), conv(ch_in, ch_out, 4, 1, 0), Swish(), conv(ch_out, ch_out, 1, 1, 0), nn.Sigmoid()
        )

    def forward(self, feat_small, feat_big):
        return feat_big * self.main(feat_small)


def up_block(inside, out):
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"), conv(inside, out * 2, 3, 1, 1), nn.BatchNorm2d(out * 2), GLU()
    )


def up_block_comp(inside, out):
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        conv(inside, out * 2, 3, 1, 1),
        NoiseInjection(),
        nn.BatchNorm2d(out * 2),
        GLU(),
        conv(out, out * 2, 3, 1, 1),
        NoiseInjection(),
        nn.BatchNorm2d(out * 2),
        GLU(),
    )


class Generator(nn.Module):
    def __init__(self, ngf, nz, nc, im_size):
        super().__init__()
        nfc = {k: int(v * ngf) for k, v in GENERATOR.items()}
        self.im_size = im_size
        self.init = nn.Sequential(
            spectral_norm(nn.ConvTranspose2d(nz, nfc[4] * 2, 4, 1, 0, bias=False)), nn.BatchNorm2d(nfc[4] * 2), GLU()
        )
        self.feat_8 = up_block_comp(nfc[4], nfc[8])
        self.feat_16 = up_block(nfc[8], nfc[16])
        self.feat_32 = up_block_comp(nfc[16], nfc[32])
        self.feat_64 = up_block(nfc[32], nfc[64])
        self.feat_128 = up_block_comp(nfc[64], nfc[128])
        self.feat_256 = up_block(nfc[128], nfc[256])
        if im_size > 256:
            self.feat_512 = up_block_comp(nfc[256], nfc[512])
        if im_size > 512:
            self.feat_1024 = up_block(nfc[512], nfc[1024])
        self.se_64 = SEBlock(nfc[4], nfc[64])
        self.se_128 = SEBlock(nfc[8], nfc[128])
        self.se_256 = SEBlock(nfc[16], nfc[256])
        if im_size > 256:
            self.se_512 = SEBlock(nfc[32], nfc[512])
        self.to_big = conv(nfc[im_size], nc, 3, 1, 1)
        self.to_128 = conv(nfc[128], nc, 1, 1, 0)

    def forward(self, noise):
        noise = noise / (noise.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()
        feat_4 = self.init(noise.view(noise.shape[0], -1, 1, 1))
        feat_8 = self.feat_8(feat_4)
        feat_16 = self.feat_16(feat_8)
        feat_32 = self.feat_32(feat_16)
        feat_64 = self.se_64(feat_4, self.feat_64(feat_32))
        feat_128 = self.se_128(feat_8, self.feat_128(feat_64))
        last = feat_256 = self.se_256(feat_16, self.feat_256(feat_128))
        if self.im_size > 256:
            last = feat_512 = self.se_512(feat_32, self.feat_512(feat_256))
        if self.im_size > 512:
            last = self.feat_1024(feat_512)
        return torch.tanh(self.to_big(last)), torch.tanh(self.to_128(feat_128))


class DownBlock(nn.Module):
    def __init__(self, inside, out):
        super().__init__()
        self.main = nn.Sequential(conv(inside, out, 4, 2, 1), nn.BatchNorm2d(out), nn.LeakyReLU(0.2))

    def forward(self, feat):
        return self.main(feat)


class DownBlockComp(nn.Module):
    def __init__(self, inside, out):
        super().__init__()
        self.main = nn.Sequential(
            conv(inside, out, 4, 2, 1),
            nn.BatchNorm2d(out),
            nn.LeakyReLU(0.2),
            conv(out, out, 3, 1, 1),
            nn.BatchNorm2d(out),
            nn.LeakyReLU(0.2),
        )
        self.direct = nn.Sequential(
            nn.AvgPool2d(2, 2), conv(inside, out, 1, 1, 0), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)
        )

    def forward(self, feat):
        return (self.main(feat) + self.direct(feat)) / 2


class Discriminator(nn.Module):
    def __init__(self, ndf, nc, im_size):
        super().__init__()
        self.im_size = im_size
        nfc = {k: int(v * ndf) for k, v in DISCRIMINATOR.items()}
        if im_size == 1024:
            self.down_from_big = nn.Sequential(
                conv(nc, nfc[1024], 4, 2, 1),
                nn.LeakyReLU(0.2),
                conv(nfc[1024], nfc[512], 4, 2, 1),
                nn.BatchNorm2d(nfc[512]),
                nn.LeakyReLU(0.2),
            )
        elif im_size == 512:
            self.down_from_big = nn.Sequential(conv(nc, nfc[512], 4, 2, 1), nn.LeakyReLU(0.2))
        else:
            self.down_from_big = nn.Sequential(conv(nc, nfc[512], 3, 1, 1), nn.LeakyReLU(0.2))
        self.down_4 = DownBlockComp(nfc[512], nfc[256])
        self.down_8 = DownBlockComp(nfc[256], nfc[128])
        self.down_16 = DownBlockComp(nfc[128], nfc[64])
        self.down_32 = DownBlockComp(nfc[64], nfc[32])
        self.down_64 = DownBlockComp(nfc[32], nfc[16])
        self.se_2_16 = SEBlock(nfc[512], nfc[64])
        self.se_4_32 = SEBlock(nfc[256], nfc[32])
        self.se_8_64 = SEBlock(nfc[128], nfc[16])
        self.rf_big = nn.Sequential(
            conv(nfc[16], nfc[8], 1, 1, 0), nn.BatchNorm2d(nfc[8]), nn.LeakyReLU(0.2), conv(nfc[8], 1, 4, 1, 0)
        )
        self.down_from_small = nn.Sequential(
            conv(nc, nfc[256], 4, 2, 1),
            nn.LeakyReLU(0.2),
            DownBlock(nfc[256], nfc[128]),
            DownBlock(nfc[128], nfc[64]),
            DownBlock(nfc[64], nfc[32]),
        )
        self.rf_small = conv(nfc[32], 1, 4, 1, 0)

    def forward(self, imgs):
        """The logits of each image, 25 of either scale, then the maps to decode: 8×8, 16×16, 8×8 of the small."""
        if not isinstance(imgs, list):
            imgs = [F.interpolate(imgs, size=self.im_size), F.interpolate(imgs, size=128)]
        feat_2 = self.down_from_big(imgs[0])
        feat_4 = self.down_4(feat_2)
        feat_8 = self.down_8(feat_4)
        feat_16 = self.se_2_16(feat_2, self.down_16(feat_8))
        feat_32 = self.se_4_32(feat_4, self.down_32(feat_16))
        feat_last = self.se_8_64(feat_8, self.down_64(feat_32))
        rf_0 = self.rf_big(feat_last).view(len(imgs[0]), -1)
        feat_small = self.down_from_small(imgs[1])
        rf_1 = self.rf_small(feat_small).view(len(imgs[0]), -1)
        return torch.cat([rf_0, rf_1], 1), feat_last, feat_32, feat_small


class SimpleDecoder(nn.Module):
    def __init__(self, nfc_in, nc):
        super().__init__()
        nfc = {k: int(v * 32) for k, v in GENERATOR.items()}
        self.main = nn.Sequential(
            nn.AdaptiveAvgPool2d(8),
            up_block(nfc_in, nfc[16]),
            up_block(nfc[16], nfc[32]),
            up_block(nfc[32], nfc[64]),
            up_block(nfc[64], nfc[128]),
            conv(nfc[128], nc, 3, 1, 1),
            nn.Tanh(),
        )

    def forward(self, feat):
        return self.main(feat)


def crop_image_by_part(image, part):
    half = image.shape[2] // 2
    if part == 0:
        return image[:, :, :half, :half]
    if part == 1:
        return image[:, :, :half, half:]
    if part == 2:
        return image[:, :, half:, :half]
    return image[:, :, half:, half:]


def train_d_loss(pred, label):
    """One draw of the target for each logit."""
    target = torch.rand_like(pred) * 0.2 + 0.8
    return F.relu(target - pred).mean() if label == "real" else F.relu(target + pred).mean()
