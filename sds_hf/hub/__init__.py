"""A published dataset as files, in a folder or on the Hub."""
