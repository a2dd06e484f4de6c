"""Compares a port with its oracle, layer by layer, and says why where they differ."""
