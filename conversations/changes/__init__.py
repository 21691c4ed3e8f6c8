"""Edits, redaction and erasure: all that writes to the agent database."""
