"""Calls modules on values as Torch would, and finds out what a model must be fed."""
