"""Matches and targets: one module each, declared as data."""
