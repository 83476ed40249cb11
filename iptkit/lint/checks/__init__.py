"""Lint checks, one module each."""
