"""Keras models, QKeras' and plain ones: from files or memory into integer graphs."""
