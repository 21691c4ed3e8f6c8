"""Turns untrusted text into HTML that is safe to show; draws charts."""
