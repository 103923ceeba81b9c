"""A selection becomes a dataset."""
