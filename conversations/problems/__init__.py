"""What can go wrong in a conversation, and the words that came with it."""
