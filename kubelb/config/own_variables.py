"""Variables of one's own, nginx's ``map``, ``geo``, ``split_clients`` and ``set``, compiled; pure.

Each is evaluated when it is asked for, and keeps what it was for the rest of the session, as in nginx
(``ngx_stream_get_indexed_variable``, src/stream/ngx_stream_variables.c): an assignment after that changes no other
variable that depends on the one assigned to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping
from typing import Final, TypeVar

from kubelb.config.expression import Expression, Variable, mentioned
from kubelb.config.lookup import FINDERS, Find, Found
from kubelb.config.model.variables import Variable as Settings
from kubelb.config.regex.compiled import DIGITS, compile_regex
from kubelb.reasons import ValueFault

T = TypeVar("T")

Values = MutableMapping[str, bytes]
"""What the variables of one's own are for one session, as far as that is known."""

TellTooLong = Callable[[str, int], None]
"""Of a variable, by its name, a text was too long for its regular expressions; the number is the text's bytes."""

_DEPTH: Final = 100
"""Variables that depend on each other, at most."""


class Cycle(ValueFault):
    """A variable depends on itself, or by too long a way on others, which nginx takes for the same."""

    def __init__(self, name: str) -> None:
        super().__init__(f'cycle while evaluating variable "{name}"')
        self.name = name


class Own:
    """One of them."""

    def __init__(self, name: str, settings: Settings | None, tell: TellTooLong = lambda name, length: None) -> None:
        """Without settings it has a value only where one is assigned."""
        self.name = name
        self._settings = settings
        self._tell = tell
        self._find: Find = (lambda text: Found("")) if settings is None else FINDERS[settings.kind](settings)
        self.needs = frozenset() if settings is None else needs(settings)

    def within(self, known: Mapping[str, Variable[T]], values_of: Callable[[T], Values | None]) -> Variable[T]:
        """The variable, which is made from those that are ``known``."""
        compute = self._computed(known, values_of)
        name, keeps = self.name, self._settings is None or not self._settings.volatile

        def value(record: T) -> bytes | None:
            values = values_of(record)
            if values is not None and name in values:
                return values[name]
            made = compute(record)
            if values is not None and keeps:
                values[name] = made
            return made

        return value

    def _computed(
        self, known: Mapping[str, Variable[T]], values_of: Callable[[T], Values | None]
    ) -> Callable[[T], bytes]:
        if self._settings is None:
            return lambda record: b""
        source, find = Expression(self._settings.source, known), self._find
        texts = {text: Expression(text, known) for text in texts_of(self._settings) if "$" in text}

        def compute(record: T) -> bytes:
            subject = source(record)
            found = find(subject)
            if found.too_long:
                self._tell(self.name, len(subject))
            if found.captures is not None and (values := values_of(record)) is not None:
                _keep(found.captures, values)
            text = found.value
            return texts[text](record) if text in texts else text.encode()

        return compute


class Captured(Own):
    """One that regular expressions set; until then there is no such thing."""

    def __init__(self, name: str) -> None:
        super().__init__(name, None)

    def within(self, known: Mapping[str, Variable[T]], values_of: Callable[[T], Values | None]) -> Variable[T]:
        name = self.name

        def value(record: T) -> bytes | None:
            values = values_of(record)
            return None if values is None else values.get(name)

        return value


def _keep(captures: Mapping[str, bytes], values: Values) -> None:
    """Those that have numbers are of the last regular expression that has found something."""
    for digit in DIGITS:
        values.pop(digit, None)
    values.update(captures)


def captured(variables: Mapping[str, Settings]) -> dict[str, None]:
    """The variables that regular expressions set. :class:`ValueFault` where one is none."""
    regexes = [regex for settings in variables.values() for regex in settings.regexes]
    names = [name for regex in regexes for name in compile_regex(regex.pattern, regex.any_case).groups]
    return dict.fromkeys((*DIGITS, *names) if regexes else ())


def captures(own: Iterable[Own]) -> bool:
    """Whether there are such, which a session then has to keep."""
    return any(isinstance(one, Captured) for one in own)


def texts_of(settings: Settings) -> Iterator[str]:
    """All that it may be: of a map these are texts with variables."""
    if settings.kind == "map":
        yield from settings.values.values()
        yield from (regex.value for regex in settings.regexes)
        yield settings.default


def plain_values(settings: Settings) -> frozenset[str]:
    """The same of one of another kind, where a dollar sign is one."""
    return frozenset((*settings.values.values(), *(part.value for part in settings.parts), settings.default))


def needs(settings: Settings) -> frozenset[str]:
    """The variables it is made from. :class:`ValueFault`, in nginx's words, where a text is none."""
    texts = [settings.source, *texts_of(settings)]
    return frozenset(name for text in texts if "$" in text for name in mentioned(text))


def compile_own(
    variables: Mapping[str, Settings],
    assigned: Iterable[str] = (),
    tell: TellTooLong = lambda name, length: None,
) -> tuple[Own, ...]:
    """Each after those it depends on; ``assigned`` are the names that have assignments.

    :class:`Cycle` where one depends on itself, :class:`ValueFault` where a text is none.
    """
    order: dict[str, None] = {}
    for name in variables:
        _put(name, variables, order, ())
    taken = captured(variables)
    made = variables.keys() | taken.keys()
    only_assigned = (Own(name, None) for name in dict.fromkeys(assigned) if name not in made)
    return (*map(Captured, taken), *only_assigned, *(Own(name, variables[name], tell) for name in order))


def _put(name: str, variables: Mapping[str, Settings], order: dict[str, None], path: tuple[str, ...]) -> None:
    if name in path or len(path) == _DEPTH:
        raise Cycle(name)
    if name in order:
        return
    for other in sorted(needs(variables[name])):
        if other in variables:
            _put(other, variables, order, (*path, name))
    order[name] = None


def with_own(
    known: dict[str, Variable[T]], own: Collection[Own], values_of: Callable[[T], Values | None]
) -> dict[str, Variable[T]]:
    """``known`` and those of one's own that can be made from these."""
    for one in own:
        if one.name not in known and one.needs <= known.keys():
            known[one.name] = one.within(known, values_of)
    return known
