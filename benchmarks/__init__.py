"""Benchmarks: iptkit beside the real tools.  See README.md."""
