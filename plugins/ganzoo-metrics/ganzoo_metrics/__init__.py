"""Metrics and feature extractors for ganzoo: the scores that GAN papers report, each by networks of one's choice."""
