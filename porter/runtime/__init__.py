"""Runs graphs: in NumPy for reference, in TensorFlow for real."""
