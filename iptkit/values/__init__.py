"""Values of options: numbers, names, addresses, interfaces, ports."""
