"""kubelb's own form of the model: kubelb.toml, read and written."""
