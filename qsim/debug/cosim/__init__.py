"""Cosimulation of RTL that qsim did not write."""
