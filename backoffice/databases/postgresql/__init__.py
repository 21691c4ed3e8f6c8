"""Django's PostgreSQL engine with a limit on every wait."""
