"""Model calls: their tokens and what they cost."""
