"""The operations on numpy integers: one kernel an op, following the op's docstring."""
