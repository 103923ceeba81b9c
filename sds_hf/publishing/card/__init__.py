"""The card of a dataset: its text, its pictures, and what the Hub asks of it."""
