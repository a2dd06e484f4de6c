"""What a network is between Torch and TensorFlow: values, nodes, graphs, layouts, layer maps."""
