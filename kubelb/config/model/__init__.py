"""The one configuration model; every reader makes it and nothing past ``config/`` knows where it came from.

All structs are frozen, all defaults stand here and nowhere else. The field names are the TOML keys, except
where ``rename`` says otherwise.
"""
