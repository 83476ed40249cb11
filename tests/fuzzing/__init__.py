"""Rules made up from what the extensions declare, and what the real tool says of them."""
