"""The list of conversations, and what it loads later: counts, new arrivals and changed rows."""
