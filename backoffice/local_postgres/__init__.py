"""The PostgreSQL that `make run` and the tests start on this computer."""
