"""Where a configuration comes from: a file of kubelb's, one of nginx's, flags, or RKE's ``CP_HOSTS``; and what goes
before it, flags and the environment's ``KUBELB_*``.

Reads files; used before the processes start and, later, in the supervisor's reader.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kubelb.config.cp_hosts import VARIABLE, read_cp_hosts
from kubelb.config.credentials import credential_faults
from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.flags_reader import Flags, read_flags
from kubelb.config.log_files import log_file_faults
from kubelb.config.model.config import Loaded
from kubelb.config.naming import nameless
from kubelb.config.nginx.syntax import NginxOptions
from kubelb.config.overrides import NO_OVERRIDES, Overrides, override, read_environment, unknown_variables, variable
from kubelb.config.toml.reader import read_toml
from kubelb.config.validate import exposed_admin, unused_pools, validate


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator gave; at most one of the first three. ``CP_HOSTS`` of ``environment`` counts without them,
    ``KUBELB_*`` beside any."""

    config: str | None = None
    """Path of a TOML file."""
    nginx_conf: str | None = None
    """Path of an nginx.conf."""
    nginx: NginxOptions = NginxOptions()
    """What goes with it."""
    flags: Flags = Flags()
    environment: Mapping[str, str] = {}

    def name(self) -> str:
        """What the operator calls the source that counts."""
        return self.config or self.nginx_conf or ("command line" if self.flags.given() else VARIABLE)


def load(sources: Sources, overrides: Overrides = NO_OVERRIDES) -> Loaded:
    """The configuration, fit to be run as far as the text and the files it names tell; ``overrides`` go before the
    environment.

    :class:`ConfigFault`: none or several sources are given, or what is given breaks the form or the rules.
    """
    loaded = override(_read(sources), read_environment(sources.environment), variable)
    loaded = override(loaded, overrides)
    for judge in (validate, credential_faults, log_file_faults):
        if faults := judge(loaded.config, loaded.places):
            raise ConfigFault(*faults)
    warnings = (
        *loaded.warnings,
        *(f"{sources.name()}: {line}" for line in unused_pools(loaded.config)),
        *(f"{sources.name()}: {line}" for line in nameless(loaded.config)),
        *exposed_admin(loaded.config, loaded.places),
        *unknown_variables(sources.environment),
    )
    return msgspec.structs.replace(loaded, warnings=warnings)


def _read(sources: Sources) -> Loaded:
    _refuse_several(sources)
    if sources.config is not None:
        return read_toml(sources.config)
    if sources.nginx_conf is not None:
        # With crossplane it is 2 MB, which a proxy that has a file of its own can do without.
        from kubelb.config.nginx.reader import read_nginx

        return read_nginx(sources.nginx_conf, sources.nginx)
    if sources.flags.given():
        return read_flags(sources.flags)
    if VARIABLE in sources.environment:
        return read_cp_hosts(sources.environment[VARIABLE])
    instead = f"give --config, --nginx-conf, --listen and --server, or {VARIABLE} in the environment"
    raise ConfigFault(Fault(what="no configuration", instead=instead))


def _refuse_several(sources: Sources) -> None:
    given = [
        name
        for name, path in (("--config", sources.config), ("--nginx-conf", sources.nginx_conf))
        if path is not None
    ]
    given += sources.flags.given()[:1]
    if len(given) > 1:
        what = f"{' and '.join(given)} each give a whole configuration"
        raise ConfigFault(Fault(what=what, instead="choose one"))
