"""``kubelb-nginx``: kubelb under nginx's command line, with nginx's messages and exit codes.

Runs in the command's own process, which becomes the supervisor, or ends once a supervisor in the background serves.
"""

from __future__ import annotations

import errno
import os
import platform
import posixpath
import re
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import kubelb
from kubelb.cli.nginx_argv import FILE, Command, UsageFault, parse
from kubelb.config.faults import ConfigFault, Fault, printable
from kubelb.config.model.config import Config, Loaded
from kubelb.config.nginx.reader import files_of
from kubelb.config.nginx.syntax import COMMAND_LINE, PREFIX, NginxOptions
from kubelb.config.sources import Sources, load
from kubelb.config.values import Address
from kubelb.discovery.resolve import resolve
from kubelb.opening import open_to_append
from kubelb.reasons import failed
from kubelb.supervisor.children import to_background
from kubelb.supervisor.privileges import check_user
from kubelb.supervisor.secondpid import open_pid
from kubelb.supervisor.upgrade import is_successor

PID: Final = "/run/nginx.pid"
_PREFIXES: Final = (PREFIX, "/usr/share/nginx/", "/usr/local/nginx/")
"""Those that packages and images of nginx are built with."""
_SIGNALS: Final = {
    "stop": signal.SIGTERM,
    "quit": signal.SIGQUIT,
    "reopen": signal.SIGUSR1,
    "reload": signal.SIGHUP,
}
_PID_BYTES: Final = 22
"""That nginx reads of a pid file (``ngx_signal_process``, src/core/ngx_cycle.c): NGX_INT64_LEN and two more."""
_PLACED: Final = re.compile(r"(?P<place>.*?:\d+): (?P<what>.*)", re.DOTALL)
_HELP: Final = f"""\
Usage: nginx [-?hvVtTq] [-s signal] [-p prefix]
             [-e filename] [-c filename] [-g directives]

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and configure options then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: {PREFIX})
  -e filename   : set error log file (default: stderr)
  -c filename   : set configuration file (default: {FILE})
  -g directives : set global directives out of configuration file
"""


def main() -> None:
    """The console script."""
    try:
        command = parse(sys.argv[1:])
    except UsageFault as fault:
        _say(str(fault))
        sys.exit(1)
    if command.version:
        _show_version(command)
    sys.exit(0 if command.version and not command.test else _do(command))


def _do(command: Command) -> int:
    """The exit status."""
    options = NginxOptions(command.prefix, command.globals, default_pid(command.prefix), command.error_log)
    sources = Sources(nginx_conf=command.file, nginx=options, environment=os.environ)
    try:
        loaded = _load(sources, command.file)
        if command.test:
            _test(command, loaded)
        elif command.signal is not None:
            _send(_SIGNALS[command.signal], str(loaded.config.process.pid_file))
        else:
            return _run(sources, loaded)
    except ConfigFault as error:
        show_faults(error)
        if command.test:
            _say(f"configuration file {command.file} test failed")
        return 1
    if command.dump:
        _dump(sources)
    return 0


def default_pid(prefix: str) -> str:
    """The pid file of a configuration that names none: the machine's, or an own one for who has an own prefix, as if
    nginx had been built with that. So several stand side by side."""
    return PID if prefix in _PREFIXES else posixpath.join(prefix, "logs/nginx.pid")


def _load(sources: Sources, file: str) -> Loaded:
    """What can be said of the configuration without taking anything of this machine. Raises :class:`ConfigFault`."""
    try:
        os.close(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except (OSError, ValueError) as error:
        raise ConfigFault(Fault(what=failed(f'open() "{file}"', error))) from None
    return load(sources)


def _test(command: Command, loaded: Loaded) -> None:
    """What nginx does of a start to see whether it could. Raises :class:`ConfigFault`."""
    resolve(loaded.config, loaded.places)
    check_user(loaded.config, loaded.places)
    if not command.quiet:
        _warn(loaded.warnings)
        _say(f"the configuration file {command.file} syntax is ok")
    _try_to_write(Path(str(loaded.config.process.pid_file)))
    for address in _addresses(loaded.config):
        _try_to_bind(address)
    if not command.quiet:
        _say(f"configuration file {command.file} test is successful")


def _addresses(config: Config) -> Iterator[Address]:
    yield from (address for one in config.listeners for address in one.listen)
    yield from dict.fromkeys(address for one in config.http for address in one.listen)


def _try_to_write(pid_file: Path) -> None:
    """Leaves no file that was not there; nginx does."""
    opened = open_pid(pid_file)
    os.close(opened.fd)
    if opened.made and not pid_file.is_symlink():
        pid_file.unlink()


def _try_to_bind(address: Address) -> None:
    """That somebody has it already, such as the running proxy, is no fault."""
    if address.path is not None:
        _try_to_bind_at(address.path)
        return
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address.host, address.port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ConfigFault(Fault(what=failed(f"bind() to {address}", error))) from None


def _try_to_bind_at(path: str) -> None:
    """Leaves no file that was not there."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.bind(path)
        Path(path).unlink()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ConfigFault(Fault(what=failed(f"bind() to unix:{path}", error))) from None


def _run(sources: Sources, loaded: Loaded) -> int:
    """The exit status. Raises :class:`ConfigFault`."""
    from kubelb.cli.run import run

    succeeding = is_successor(os.environ)
    if not succeeding:
        # The runtime directory beside it is made with all above it.
        _try_to_write(Path(str(loaded.config.process.pid_file)))
    if not loaded.daemon or succeeding:
        return run(sources, show=show_faults)
    in_background = to_background()

    def ready() -> None:
        files = [target.file for target in loaded.config.log.targets if target.syslog is None]
        if files and None not in files:
            _write_errors_to(str(files[0]))
        in_background()

    return run(sources, ready=ready, show=show_faults)


def _write_errors_to(path: str) -> None:
    """Whoever started it need not stay to read what Python itself might have to say (``ngx_log_redirect_stderr``)."""
    log = open_to_append(path).fd
    os.dup2(log, sys.stderr.fileno())
    os.close(log)


def _send(number: signal.Signals, pid_file: str) -> None:
    """To the supervisor that has written the file. Raises :class:`ConfigFault`."""
    try:
        with open(pid_file, "rb") as file:  # noqa: PTH123 (its errors name no path twice)
            text = file.read(_PID_BYTES).rstrip(b"\r\n")
    except (OSError, ValueError) as error:
        raise _SignalFault(failed(f'open() "{pid_file}"', error), "error") from None
    if not re.fullmatch(rb"[0-9]{1,10}", text) or not int(text):
        raise _SignalFault(f'invalid PID number "{text.decode("ascii", "replace")}" in "{pid_file}"', "error")
    try:
        os.kill(int(text), number)
    except (OSError, OverflowError) as error:
        raise _SignalFault(failed(f"kill({int(text)}, {number.value})", error), "alert") from None


class _SignalFault(ConfigFault):
    """A signal could not be sent; nginx calls that another level of harm."""

    def __init__(self, what: str, level: str) -> None:
        super().__init__(Fault(what=what))
        self.level = level


def show_faults(error: ConfigFault) -> int:
    """One line a fault on standard error, as nginx writes its own; the exit status."""
    level = error.level if isinstance(error, _SignalFault) else "emerg"
    for fault in error.faults:
        _say(f"[{level}] {nginx_words(fault)}")
    return 1


def nginx_words(fault: Fault) -> str:
    """The fault in the form of nginx's messages: the directive, what is wrong, and where that is."""
    words = fault.what
    if fault.path and words.startswith("unknown directive"):
        words = words.replace("unknown directive", f'unknown directive "{fault.path}"', 1)
    elif fault.path and f'"{fault.path}"' not in words:
        words = f'"{fault.path}" {words}' if words.startswith("directive ") else f'"{fault.path}": {words}'
    if fault.instead:
        words += f"; {fault.instead}"
    if fault.line is not None:
        return f"{words} in {fault.file}:{fault.line}"
    if fault.file == COMMAND_LINE:
        return f"{words} in command line"
    return f'"{fault.file}": {words}' if fault.file else words


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        match = _PLACED.fullmatch(warning)
        _say("[warn] " + (f"{match['what']} in {match['place']}" if match else warning))


def _say(text: str) -> None:
    print(printable(f"nginx: {text}"), file=sys.stderr)


def _show_version(command: Command) -> None:
    print(f"nginx version: kubelb/{kubelb.__version__}", file=sys.stderr)
    if command.help:
        print(_HELP, file=sys.stderr)
    if command.configure:
        print(f"built with Python {platform.python_version()}", file=sys.stderr)
        paths = f"--prefix={PREFIX.rstrip('/')} --conf-path={FILE} --error-log-path=stderr --pid-path={PID}"
        print(f"configure arguments: {paths} --with-stream", file=sys.stderr)


def _dump(sources: Sources) -> None:
    """The files as they are, as nginx's ``-T``."""
    for name, data in files_of(str(sources.nginx_conf), sources.nginx).items():
        sys.stdout.buffer.write(f"# configuration file {name}:\n".encode("utf-8", "surrogateescape") + data + b"\n")
    sys.stdout.buffer.flush()
