"""From URL parameters to the conversations that match, found page by page."""
