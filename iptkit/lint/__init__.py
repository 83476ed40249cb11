"""Checks over a ruleset."""
