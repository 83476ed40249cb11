"""What changed between two rulesets."""
