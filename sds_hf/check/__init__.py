"""Whether a version holds what it claims, and what is new in it."""
