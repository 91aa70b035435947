"""Networks beyond DCGAN for ganzoo: spectral norm, ResNets, self-attention, classes and codes."""
