"""Symbolic values: an integer tensor and what its codes mean, and the exact integer ops that quantizers, sums, pools
and rearrangements of such values become. What importers of real-valued sources with quantizers share."""
