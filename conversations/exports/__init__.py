"""The list's conversations as files."""
