"""Keras files and models in memory into one structure, without interpreting a layer."""
