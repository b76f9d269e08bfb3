"""Selectors and what they may choose from; pure."""
