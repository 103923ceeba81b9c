"""A table of which only that is computed which decides."""
