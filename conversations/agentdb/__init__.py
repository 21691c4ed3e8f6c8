"""The agent database as the runtime made it: its revision, its types, its conventions."""
