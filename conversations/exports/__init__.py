"""Exports: the list's conversations as files."""
