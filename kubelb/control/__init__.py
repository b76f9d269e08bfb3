"""The process that sees the whole: status and the admin side."""
