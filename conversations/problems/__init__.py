"""What can go wrong in a conversation, and the text of its errors."""
