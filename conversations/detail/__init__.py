"""The pages of one conversation: its transcript, runs, tasks and payloads."""
