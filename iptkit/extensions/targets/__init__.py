"""Targets, one module each."""
