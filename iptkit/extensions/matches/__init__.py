"""Matches, one module each."""
