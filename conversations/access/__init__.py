"""Who may see which conversations."""
