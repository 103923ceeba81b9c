"""Whether the selection trains a better segmenter; scores against a known truth."""
