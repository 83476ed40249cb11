"""Packets through hooks, tables and chains: what the kernel would do with them."""
