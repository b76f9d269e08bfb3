"""kubelb beside nginx's ``stream``, measured with the same load, in turns, on one machine: ``python -m bench``."""
