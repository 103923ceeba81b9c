"""Whether the selection trains a better segmenter."""
