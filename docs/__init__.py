"""Documentation, and what is generated for it."""
