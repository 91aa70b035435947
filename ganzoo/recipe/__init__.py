"""A recipe: its tables, how it is read and overridden, and what is wrong with it."""
