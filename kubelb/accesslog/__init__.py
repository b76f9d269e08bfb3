"""Access logs as they are written, of sessions and of requests for health alike."""
