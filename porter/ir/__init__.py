"""The intermediate representation: values, nodes, graphs, layouts, layer maps."""
