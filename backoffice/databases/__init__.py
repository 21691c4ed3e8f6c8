"""Connections to PostgreSQL: where they lead, what they may take, what their errors mean."""
