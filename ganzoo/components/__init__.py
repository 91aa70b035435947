"""The contracts that every plugin implements."""
