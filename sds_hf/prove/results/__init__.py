"""What came out: numbers, text and a picture."""
