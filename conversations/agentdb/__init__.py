"""How the runtime writes the agent database: revision, types, conventions."""
