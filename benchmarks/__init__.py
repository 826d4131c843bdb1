"""Ratios measured in one run on one machine; absolute times are for orientation only."""
