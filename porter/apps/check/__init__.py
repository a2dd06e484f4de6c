"""Regression over folders of fixtures."""
