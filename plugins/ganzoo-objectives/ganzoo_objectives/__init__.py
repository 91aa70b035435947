"""Objectives for ganzoo: losses and penalties that go with any network."""
