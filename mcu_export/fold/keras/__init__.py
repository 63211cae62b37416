"""Folding Keras files: what comes out is a ``.keras`` archive that Keras 3 loads."""
