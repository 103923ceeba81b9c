"""Which rows stay, and why."""
