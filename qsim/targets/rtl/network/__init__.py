"""The streaming microarchitecture of a graph: kernels, folding, timing, schedule."""
