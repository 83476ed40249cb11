"""How findings and results are printed."""
