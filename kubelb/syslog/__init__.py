"""Messages to a syslog server, and sending them."""
