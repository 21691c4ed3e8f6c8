"""The runtime's tables in the admin panel."""
