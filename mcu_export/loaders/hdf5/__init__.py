"""A reader of the HDF5 that Keras writes, with bounds on everything."""
