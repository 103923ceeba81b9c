"""Formulas on arrays and tensors; no rows, no models, no files."""
