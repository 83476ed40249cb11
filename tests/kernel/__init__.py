"""Tests of the kernel-facing layer; most need root and make network namespaces of their own."""
