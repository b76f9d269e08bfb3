"""What the operator asked for: one typed model and the readers and writers of its forms."""
