"""The agent database as the runtime creates it: revision, types, conventions."""
