"""nginx.conf, read by nginx's rules into the model."""
