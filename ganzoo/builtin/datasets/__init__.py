"""Built-in datasets, one module for each kind of source."""
