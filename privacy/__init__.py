"""Finds and masks personal data."""
