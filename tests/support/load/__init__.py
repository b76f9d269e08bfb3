"""A load of real connections for a proxy, in which every client knows exactly what it has to hear."""
