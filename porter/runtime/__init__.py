"""Run graphs: in NumPy as the reference, in TensorFlow as the port."""
