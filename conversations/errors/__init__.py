"""The page Errors: what went wrong lately, grouped by message."""
