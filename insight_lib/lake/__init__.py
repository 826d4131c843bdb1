"""The lake: one root per region, Delta tables per market, and the way rows get in."""
