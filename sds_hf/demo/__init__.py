"""The embedded default: emoji scenes with exact masks and known defects, and a tiny CLIP trained on such scenes."""
