"""Stage 03: describe each customer comparably."""
