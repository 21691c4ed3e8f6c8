"""Edits, redaction and erasure: everything that writes to the agent database."""
