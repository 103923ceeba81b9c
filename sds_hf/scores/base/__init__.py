"""What a score is, and what carries it out."""
