"""What is trained on each arm: a small decoder on features of a frozen backbone, or a whole segmenter."""
