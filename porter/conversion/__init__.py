"""The whole conversion, and the folder that appears whole or not at all."""
