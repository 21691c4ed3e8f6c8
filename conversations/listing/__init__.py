"""The list of conversations, and what it loads after it is shown."""
