"""Which files data may name, where a dataset comes from, and the copies that are kept of it."""
