"""Source text, positions in it, and what is said about them."""
