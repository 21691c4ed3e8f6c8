"""The page Errors: recent problems, grouped by message."""
