"""The scores of a whole dataset on disk, resumable."""
