"""A score table made by jobs on the machines of Hugging Face: what they cost, what they run, and watching them."""
