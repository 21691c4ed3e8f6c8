"""Untrusted text as HTML that is safe to show; charts."""
