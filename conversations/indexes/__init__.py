"""Our indexes on the runtime's tables: the catalogue, their state, building them."""
