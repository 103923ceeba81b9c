"""The model: found, loaded, run; and the masks it makes."""
