"""The engine that reads from a streaming replica, and how far the replica is behind."""
