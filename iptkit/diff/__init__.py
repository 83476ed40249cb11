"""What differs between two rulesets: rules aligned by identity, shown as text, JSON or a restore script."""
