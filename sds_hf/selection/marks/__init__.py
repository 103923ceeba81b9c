"""Marks: rows that somebody looked at, and what they show of all that are kept."""
