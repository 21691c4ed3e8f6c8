"""The engine for reading from a streaming replica, and how far it is behind."""
