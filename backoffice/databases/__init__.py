"""Connections to PostgreSQL: their settings, their limits, what their errors mean."""
