"""Keras files, of Keras 1 to 3, read as configuration and weights."""
