"""Checks of rulesets: what will not load, what does not do what it says, what could be better."""
