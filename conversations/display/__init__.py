"""What strangers wrote, as HTML that is safe to show; charts."""
