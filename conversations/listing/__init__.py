"""The list of conversations and what it asks for after it is shown."""
