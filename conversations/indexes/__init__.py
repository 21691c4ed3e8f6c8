"""Our indexes on the runtime's tables: which there are, whether they exist, building them."""
