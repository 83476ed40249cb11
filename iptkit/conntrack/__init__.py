"""Connection tracking and NAT, as Linux does them: no clock, no sockets, packets and times are arguments."""
