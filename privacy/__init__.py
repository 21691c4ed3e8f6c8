"""What is personal data, and who sees it masked."""
