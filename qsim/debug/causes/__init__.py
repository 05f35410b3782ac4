"""Known causes of differences, each recomputed and compared."""
