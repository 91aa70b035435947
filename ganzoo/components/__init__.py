"""Base classes of the components that plugins implement."""
