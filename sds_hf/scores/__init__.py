"""One file a score: a new file here is a new score everywhere (`base/catalog.py` finds it)."""
