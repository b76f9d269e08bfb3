"""nginx's ``stream {}`` into listeners and pools; pure."""

from __future__ import annotations

from collections.abc import Iterable

from kubelb.config.faults import Place
from kubelb.config.log_format import of_sessions
from kubelb.config.model.listeners import Binding, Listener
from kubelb.config.model.pools import PASSIVE, Pool, Server
from kubelb.config.model.variables import Variable
from kubelb.config.naming import is_named_by_variables, possible_names
from kubelb.config.nginx.checks import checks
from kubelb.config.nginx.limits import Limiting
from kubelb.config.nginx.listen import parse_addresses, parse_binding
from kubelb.config.nginx.logs import AccessLogs, Formats
from kubelb.config.nginx.proxy import Proxying
from kubelb.config.nginx.reception import Content, Reception, take_proxy_protocol
from kubelb.config.nginx.resolver import Resolving
from kubelb.config.nginx.syntax import Directive, Handler, Notes, walk
from kubelb.config.nginx.upstream import Upstream
from kubelb.config.nginx.variables import Assignments, Variables, declared
from kubelb.config.values import Address, parse_address
from kubelb.config.variables import compile_key
from kubelb.reasons import ValueFault


class Streams:
    """All of ``stream {}``, in the order of the file."""

    def __init__(self, notes: Notes, prefix: str) -> None:
        """``prefix`` is what relative paths begin at."""
        self.pools: dict[str, Pool] = {}
        self.listeners: list[Listener] = []
        self.variables: dict[str, Variable] = {}
        self._notes = notes
        self._prefix = prefix
        self._servers: list[tuple[Directive, Formats]] = []
        self._discovered: list[tuple[Directive, str, Upstream]] = []
        """Those with names that are looked up again, where they stand, and their pools."""

    def read(self, stream: Directive) -> None:
        """``server`` blocks come last: they inherit from the whole block and name any upstream in it."""
        self._notes.worker = declared(stream)
        variables = Variables(self._notes)
        limiting = Limiting(self._notes)
        proxying = Proxying(self._notes)
        reception = Reception(self._notes)
        formats = Formats(self._prefix, of_sessions(self._notes.worker))
        logs = AccessLogs(formats)
        resolving = Resolving(self._notes)
        handlers: dict[str, Handler] = {
            "upstream": self._upstream,
            "server": lambda server: self._servers.append((server, formats.so_far())),
            "log_format": formats.read,
            "access_log": logs.read,
            **checks("stream", self._notes),
            **variables.handlers,
            **limiting.handlers,
            **proxying.handlers,
            **reception.handlers,
            **resolving.handlers,
        }
        walk(stream.block or (), "stream", handlers, self._notes)
        limiting.check()
        self._discover(resolving)
        self.variables = variables.settings
        for server, known in self._servers:
            own = Proxying(self._notes, proxying), Limiting(self._notes, limiting)
            self._server(server, *own, AccessLogs(known), logs, Reception(self._notes, reception))
        self._add_pools_of_values()

    def _upstream(self, upstream: Directive) -> None:
        name = upstream.args[0]
        if self._known(name):
            raise ValueFault(f'duplicate upstream "{name}"')
        reader = Upstream(self._notes, name)
        walk(upstream.block or (), "upstream", reader.handlers, self._notes)
        self._notes.places["pool", name] = upstream.place()
        self.pools[name] = reader.pool()
        if reader.resolves is not None:
            self._discovered.append((upstream, name, reader))
        reader.resolving.warn_if_unused(used=reader.resolves is not None)

    def _discover(self, resolving: Resolving) -> None:
        for directive, name, upstream in self._discovered:
            if upstream.resolves is not None:
                own = upstream.resolving.within(resolving)
                self.pools[name] = own.discovered(directive, upstream.resolves, self.pools[name])
        resolving.warn_if_unused(used=bool(self._discovered))

    def _server(
        self,
        server: Directive,
        proxying: Proxying,
        limiting: Limiting,
        logs: AccessLogs,
        outer_logs: AccessLogs,
        reception: Reception,
    ) -> None:
        listens: dict[tuple[bool, Binding], list[tuple[Address, Directive]]] = {}
        assignments = Assignments(self._notes)
        content = Content(self._pool_of, self._notes.worker)
        resolving = Resolving(self._notes)

        def listen(directive: Directive) -> None:
            accepts, rest = take_proxy_protocol(directive)
            group = listens.setdefault((accepts, parse_binding(rest.args[1:])), [])
            group += ((address, directive) for address in parse_addresses(rest.args[0]))

        handlers: dict[str, Handler] = {
            "listen": listen,
            "access_log": logs.read,
            **checks("stream server", self._notes),
            **assignments.handlers,
            **limiting.handlers,
            **proxying.handlers,
            **reception.handlers,
            **content.handlers,
            **resolving.handlers,
        }
        faults = len(self._notes.faults)
        walk(server.block or (), "stream server", handlers, self._notes)
        limiting.check()
        resolving.warn_if_unused(used=False)
        if len(self._notes.faults) > faults:
            return
        if not listens or not content.settings:
            self._notes.refuse(server, "no handler for server" if listens else 'no "listen" is defined for server')
            return
        access_logs = logs.within(outer_logs)
        for (accepts, binding), bound in listens.items():
            self._place_listener(server, bound)
            self._place("access_log", [directive for _, directive in access_logs])
            limiting.place(self._notes.places, ("listener", len(self.listeners)))
            proxying.place(self._notes.places, ("listener", len(self.listeners)))
            reception.place(self._notes.places, ("listener", len(self.listeners)))
            assignments.place(self._notes.places, ("listener", len(self.listeners)))
            self.listeners.append(
                Listener(
                    listen=tuple(address for address, _ in bound),
                    socket=binding,
                    assignments=assignments.settings(),
                    limits=limiting.settings(),
                    **proxying.settings(),
                    access_logs=tuple(log for log, _ in access_logs),
                    **content.settings,
                    **reception.settings(accepts),
                )
            )

    def _place_listener(self, server: Directive, listens: list[tuple[Address, Directive]]) -> None:
        places, key = self._notes.places, ("listener", len(self.listeners))
        places[key] = server.place()
        # The options of all of them are the same.
        places.update({(*key, "socket"): listens[0][1].place()})
        places.update({(*key, "listen", i): directive.place() for i, (_, directive) in enumerate(listens)})

    def _place(self, name: str, directives: Iterable[Directive]) -> None:
        """Where the next listener's settings of that name stand."""
        key = ("listener", len(self.listeners), name)
        self._notes.places.update({(*key, i): directive.place() for i, directive in enumerate(directives)})

    def _known(self, name: str) -> str | None:
        """The pool of that name, which nginx compares without case."""
        return next((pool for pool in self.pools if pool.lower() == name.lower()), None)

    def _pool_of(self, directive: Directive) -> str:
        """The upstream a ``proxy_pass`` names, or a pool of the one address it gives."""
        target = directive.args[0]
        if is_named_by_variables(target):
            compile_key(target, self._notes.worker)
            if ":" in target:
                raise ValueFault(f'"{target}" is an address made for each client; write each whole, in a map')
            return target
        if pool := self._known(target):
            return pool
        if ":" not in target:
            raise ValueFault(f'no upstream "{target}", and no port in it; name an upstream or write host:port')
        server = Server(address=parse_address(target))
        if pool := self._known(server.address.host):
            raise ValueFault(f'upstream "{pool}" may not have port {server.address.port}')
        self._add_pool_of(server, target, directive.place())
        return target

    def _add_pool_of(self, server: Server, name: str, place: Place | None) -> None:
        """The pool that an address stands for in nginx."""
        if place is not None:
            self._notes.places["pool", name] = place
        self.pools[name] = Pool(servers=(server,), balance="round_robin", health=PASSIVE)

    def _add_pools_of_values(self) -> None:
        """One for each address that a listener's variable may be."""
        for i, listener in enumerate(self.listeners):
            named = is_named_by_variables(listener.pool)
            for text in sorted(possible_names(listener, self.variables).texts) if named else ():
                if self._known(text) is None and (server := _server_of_value(text)) is not None:
                    self._add_pool_of(server, text, self._notes.places.get(("listener", i)))


def _server_of_value(text: str) -> Server | None:
    """That of an address; names are not looked up for each client."""
    try:
        address = parse_address(text)
    except ValueError:
        return None
    return None if address.is_name else Server(address=address)
