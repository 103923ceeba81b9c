"""What a row and a dataset are."""
