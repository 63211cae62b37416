"""TensorFlow files: frozen graphs, checkpoints, SavedModels."""
