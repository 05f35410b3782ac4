"""Graph to files to measured codes: one package a target."""
