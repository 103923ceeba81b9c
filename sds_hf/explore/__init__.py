"""The page to look and tune: served on this machine, put beside a published set, or written into one file."""
