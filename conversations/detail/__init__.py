"""One conversation: its transcript, runs, tasks and payloads."""
