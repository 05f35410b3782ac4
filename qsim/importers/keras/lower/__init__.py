"""A Keras model, once read, into an integer graph."""
