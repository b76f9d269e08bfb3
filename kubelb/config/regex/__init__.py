"""Regular expressions as nginx has them, which are PCRE's: what they mean, what they may cost, Python's for them."""
