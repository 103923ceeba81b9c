"""Reference masks made by CLIP alone, to compare given masks with."""
