"""The structure of the code itself: who may import whom, what is pure, and where processes and threads begin."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kubelb

ROOT = Path(kubelb.__file__).parent
TESTS = Path(__file__).parent
FILES = {str(file.relative_to(ROOT)): file for file in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(file.read_text()) for name, file in FILES.items()}

LAYERS = {
    "__init__.py": 0,
    "crowds.py": 2,
    "deadlines.py": 0,
    "inbox.py": 4,
    "imports.py": 1,
    "inet.py": 1,
    "own_limits.py": 1,
    "proxyproto.py": 2,
    "opening.py": 1,
    "reasons.py": 0,
    "stats.py": 1,
    "syslog": 1,
    "tls_reasons.py": 0,
    "outlets.py": 2,
    "logqueue.py": 2,
    "log.py": 3,
    "unix_path.py": 3,
    "logwriter.py": 5,
    "signals.py": 1,
    "standin": 1,
    "config": 2,
    "snapshot.py": 3,
    "wire": 4,
    "accesslog": 5,
    "balance": 5,
    "discovery": 5,
    "health": 5,
    "relay": 6,
    "worker": 7,
    "control": 7,
    "supervisor": 8,
    "cli": 9,
    "__main__.py": 10,
}
PURE = {
    f"{folder}/{name}.py" if folder else f"{name}.py"
    for folder, names in {
        "": "deadlines inet own_limits proxyproto reasons snapshot tls_reasons",
        "balance": "eligible hashing least_conn passive ramp random_two rebalance round_robin selector",
        "cli": "figures nginx_argv top_model",
        "config": (
            "access cp_hosts expression faults flags_reader http_head http_variables kubeconfig log_format "
            "log_targets lookup loops misfits naming overrides own_variables proxying validate values variables "
            "virtual"
        ),
        "config/model": "config http listeners logs pools settings variables",
        "config/nginx": (
            "checks directives http limits listen logs process proxy ranges reception resolver stream "
            "syntax syslog translate upstream variables words"
        ),
        "config/regex": "brackets compiled cost escapes parser sets tree",
        "config/rules": "discovery health http limits logs loops process proxy reception rule variables",
        "config/toml": "decode effects lines syntax writer",
        "control": (
            "answers commands decide endpoint figures history markup metrics page pool_table sessions "
            "sparkline status tally web"
        ),
        "discovery": "loops members message targets",
        "health": "http machine schedule words",
        "relay": "flow rate wheel",
        "standin": "kubeconfig",
        "supervisor": "changes credence listenfds plan pulse",
        "syslog": "message",
        "wire": "message_sets messages",
        "worker": "client_hello dialplan retry_budget waits",
    }.items()
    for name in names.split()
}
WORDS = tuple(f"kubelb.stats.{word}" for word in ("Count", "Histogram", "ROWS", "SLOTS"))
IMPURE = {
    *("asyncio", "ctypes", "fcntl", "logging", "mmap", "os", "pathlib", "queue", "secrets", "select", "selectors"),
    *("signal", "socket", "ssl", "structlog", "subprocess", "sys", "tempfile", "threading", "time", "uuid"),
}
THREADS = re.compile(r"relay/alone|worker/main|accesslog/scribe|control/\w+|cli/demo\w*|cli/top|standin/\w+")
PLACES = {
    "click": re.compile(r"cli/\w+"),
    "crossplane": re.compile(r"config/nginx/table"),
    "prometheus_client": re.compile(r"control/metrics"),
    "rich": re.compile(r"cli/\w+"),
    "structlog": re.compile(r"log"),
    "tomli": re.compile(r"config/toml/\w+"),
    "trustme": re.compile(r"standin/certificates"),
    "yaml": re.compile(r"config/kubeconfig"),
    "waitress": re.compile(r"control/(admin|admin_channel|endpoint_channel|timed_channel|growing_threads)"),
}
"""Third parties that are spoken to in one place."""


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, dotted, wherever that is done; a name out of one counts as one too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def without_typing(tree: ast.Module) -> ast.Module:
    """The code without what only a type checker reads."""

    class Cut(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING") else node

    cut = Cut().visit(ast.parse(ast.unparse(tree)))
    assert isinstance(cut, ast.Module)
    return cut


def file_of(module: str) -> str | None:
    """Which of our files ``kubelb.a.b`` is, or is a name out of; None: it is not ours."""
    first, *parts = module.split(".")
    if first != "kubelb":
        return None
    while parts and "/".join(parts) + ".py" not in FILES and "/".join((*parts, "__init__.py")) not in FILES:
        parts.pop()
    file = "/".join(parts) + ".py"
    return file if file in FILES else "/".join((*parts, "__init__.py"))


def part(file: str) -> str:
    """The folder, or the file where it stands in none."""
    return file.partition("/")[0]


def calls(tree: ast.AST, *names: str) -> bool:
    """Whether ``module.name(`` or ``name(`` is there, called or otherwise used."""
    return any(isinstance(node, (ast.Attribute, ast.Name)) and ast.unparse(node) in names for node in ast.walk(tree))


def test_one_helper_skips_tests() -> None:
    """It fails instead on CI: what is missing there would go unnoticed."""
    skipping = (file for file in TESTS.rglob("*.py") if skips(ast.parse(file.read_text())))
    assert [str(file.relative_to(TESTS)) for file in skipping] == ["support/requirements.py"]


def skips(tree: ast.AST) -> bool:
    """Whether the code has to do with pytest's or unittest's ways to skip a test."""
    names = {"skip", "skipif", "importorskip", "Skipped", "SkipTest", "skipTest", "skipIf", "skipUnless"}
    used = (node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return not names.isdisjoint({*used, *(module.rpartition(".")[2] for module in imports(tree))})


@pytest.mark.parametrize("file", FILES)
def test_a_module_imports_its_own_folder_and_lower_layers_only(file: str) -> None:
    for module in imports(TREES[file]):
        other = file_of(module)
        if other is not None and part(other) != part(file):
            assert LAYERS[part(other)] < LAYERS[part(file)], f"{file} imports {other}"


def test_every_folder_has_a_layer() -> None:
    assert {part(file) for file in FILES} <= set(LAYERS)


def test_the_pure_modules_call_themselves_so() -> None:
    openings = {file: (ast.get_docstring(tree) or "").partition("\n\n")[0] for file, tree in TREES.items()}
    declared = {file for file, text in openings.items() if re.search(r"\bpure\b", text, re.IGNORECASE)}
    assert {file for file in declared if not file.endswith("__init__.py")} == PURE


@pytest.mark.parametrize("file", sorted(PURE))
def test_a_pure_module_does_nothing(file: str) -> None:
    tree = without_typing(TREES[file])
    for module in imports(tree):
        assert module.partition(".")[0] not in IMPURE
        # What the words of the shared counters mean is known without having them.
        assert file_of(module) in (None, "__init__.py", *PURE) or module in WORDS, module
    assert not calls(tree, "open", "print", "input")
    drawn = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert {name for name in drawn if name.startswith("random.")} <= {"random.Random"}


def test_only_one_place_forks() -> None:
    assert [file for file, tree in TREES.items() if calls(tree, "os.fork", "fork")] == ["supervisor/children.py"]
    for file, tree in TREES.items():
        modules = {module.partition(".")[0] for module in imports(tree)}
        assert not modules & {"multiprocessing", "concurrent", "asyncio", "_thread", "pty"}, file
        assert not calls(tree, "os.forkpty", "os.posix_spawn", "os.system", "os.popen"), file


def test_threads_begin_only_where_they_are_meant_to() -> None:
    for file, tree in TREES.items():
        if calls(tree, "threading.Thread", "Thread", "threading.Timer"):
            assert THREADS.fullmatch(file.removesuffix(".py")), file


@pytest.mark.parametrize("package", PLACES)
def test_a_third_party_is_spoken_to_in_one_place(package: str) -> None:
    users = {file for file, tree in TREES.items() if package in {m.partition(".")[0] for m in imports(tree)}}
    assert users
    assert all(PLACES[package].fullmatch(file.removesuffix(".py")) for file in users)


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith("__init__.py")])
def test_a_package_begins_with_what_it_is(file: str) -> None:
    docstring, *rest = TREES[file].body
    assert isinstance(docstring, ast.Expr)
    assert ast.get_docstring(TREES[file])
    assert [ast.unparse(node).partition(" = ")[0] for node in rest] == (
        ["__version__"] if file == "__init__.py" else []
    )


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES.values()}))
def test_every_folder_is_a_package(folder: Path) -> None:
    assert (folder / "__init__.py").exists()


@pytest.mark.parametrize("file", [file for file in FILES if not file.endswith("__init__.py")])
def test_every_module_says_what_it_is(file: str) -> None:
    assert ast.get_docstring(TREES[file])


def test_the_proxy_does_without_what_only_commands_show() -> None:
    """It is on every node, and its memory with it."""
    code = "import sys, kubelb.cli.app, kubelb.cli.run; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "structlog" in loaded
    third_parties = {"crossplane", "prometheus_client", "rich", "trustme"}
    others = {"asyncio", "difflib", "hashlib", "ssl", "kubelb.config.nginx.reader", "kubelb.health.tls"}
    assert not (third_parties | others) & set(loaded)


BENCH = {
    str(file.relative_to(ROOT.parent)): ast.parse(file.read_text()) for file in (ROOT.parent / "bench").rglob("*.py")
}
OUR_FAULTS = {
    node.name for tree in (TREES | BENCH).values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
}
WORDINGS = {"args", "getMessage", "message", "msg", "strerror", "verify_message"}
"""Attributes with a text of the system or of a library."""


def foreign(kind: ast.expr | None) -> bool:
    """Whether an exception of such a type may be somebody else's."""
    names = [node for node in ast.walk(kind) if isinstance(node, (ast.Name, ast.Attribute))] if kind else []
    called = {node.attr if isinstance(node, ast.Attribute) else node.id for node in names}
    return any(re.search(r"(Error|Exception|Fault|UNDECODABLE)$", name) and name not in OUR_FAULTS for name in called)


def foreign_errors(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The names of exceptions that may be somebody else's, each with the code where it means that."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.name and foreign(node.type):
            yield node.name, node
        elif isinstance(node, ast.FunctionDef):
            arguments = (*node.args.args, *node.args.kwonlyargs)
            yield from ((argument.arg, node) for argument in arguments if foreign(argument.annotation))


def tells(node: ast.AST, name: str) -> bool:
    """Whether the text of the exception of that name is asked for."""

    def is_it(value: ast.AST) -> bool:
        return isinstance(value, ast.Name) and value.id == name

    match node:
        case ast.FormattedValue(value=value):
            return is_it(value)
        case ast.Attribute(value=value, attr=attribute):
            return is_it(value) and attribute in WORDINGS
        case ast.Call(func=ast.Name(id="str" | "repr" | "format" | "print"), args=arguments):
            return any(map(is_it, arguments))
        case ast.Call(keywords=keywords):
            return any(is_it(keyword.value) and keyword.arg != "exc_info" for keyword in keywords)
    return False


@pytest.mark.parametrize("file", [*TREES, *BENCH])
def test_errors_of_others_are_told_in_our_words(file: str) -> None:
    """Their texts depend on versions and on the locale: they are told of by what they are, not by what they say."""
    tree = (TREES | BENCH)[file]
    told = [
        f"{file}:{node.lineno}"
        for name, scope in foreign_errors(tree)
        for node in ast.walk(scope)
        if tells(node, name) and isinstance(node, ast.expr)
    ]
    assert not told
    assert not calls(tree, "os.strerror", "strerror", "traceback.format_exc")
    asked = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not asked & {"getMessage", "strerror", "verify_message"}


@pytest.mark.parametrize(
    "file", [file for file in FILES if part(file) in ("config", "discovery", "inet.py", "syslog")]
)
def test_what_reads_texts_refuses_them_by_a_fault_of_ours(file: str) -> None:
    """A ValueError may be Python's own, whose text is not to be shown."""
    raised = [ast.unparse(node.exc) for node in ast.walk(TREES[file]) if isinstance(node, ast.Raise) and node.exc]
    assert not [text for text in raised if text.startswith("ValueError")]


@pytest.mark.parametrize("file", sorted(TESTS.rglob("*.py")), ids=lambda file: str(file.relative_to(TESTS)))
def test_only_what_we_say_ourselves_is_compared(file: Path) -> None:
    """A test of somebody else's words fails once they have others."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr="raises"), args=[kind, *_], keywords=[_, *_]):
                names = {ast.unparse(part).rpartition(".")[2] for part in getattr(kind, "elts", [kind])}
                assert names <= OUR_FAULTS | {"AssertionError"}, f"{file}:{node.lineno}"
