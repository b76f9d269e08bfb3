"""``kubelb check`` on what probes are given: files that will not do, flags, and the environment's ``KUBELB_*``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from kubelb.cli.check import check
from kubelb.config.sources import Sources
from kubelb.standin import certificates
from tests.support.log import DEADLINE
from tests.support.proxy import KUBELB
from tests.support.users import as_nobody, open_to_all

_RKE = Path(__file__).parent.parent / "corpus" / "nginx" / "valid" / "rke.conf"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an authority, ``ca.crt``, a client's key and certificate in one file and apart, and files that
    are none of these."""
    directory = tmp_path_factory.mktemp("files")
    pair = _pem_parts(directory)
    (directory / "client.key").write_text(pair[0])
    (directory / "client.crt").write_text(pair[1])
    (directory / "client.pem").write_text("".join(pair))
    other = directory / "other"
    other.mkdir()
    (directory / "other.key").write_text(_pem_parts(other)[0])
    key = serialization.load_pem_private_key(pair[0].encode(), password=None)
    (directory / "encrypted.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    (directory / "half.crt").write_text(pair[1][:200] + "\n-----END CERTIFICATE-----\n")
    (directory / "token").write_text("abc.def-ghi\n")
    (directory / "empty").write_text("")
    (directory / "two lines").write_text("abc\nX-Remote-Group: system:masters\n")
    (directory / "binary").write_bytes(b"0\x82\x01\xe9" * 100)
    return directory


def _pem_parts(directory: Path) -> list[str]:
    """A private key, and the certificate for it."""
    key, end, certificate = certificates.make(directory).server.read_text().partition("-----END")
    rest, newline, certificate = (end + certificate).partition("\n")
    return [key + rest + newline, certificate]


def _config(directory: Path, health: str) -> Path:
    """Its health settings begin on line 7."""
    file = directory / "kubelb.toml"
    file.write_text(f"""\
[[listener]]
listen = ["127.0.0.1:6443"]
pool = "a"
[pool.a]
servers = ["127.0.0.1:7443"]
[pool.a.health]
{health}
""")
    return file


def _faults(directory: Path, health: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    file = _config(directory, health)
    assert check(Sources(config=str(file))) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return [line.removeprefix(f"{file}:") for line in err.splitlines()]


def test_good_files(files: Path, tmp_path: Path) -> None:
    for certificate in (f'"{files}/client.pem"', f'"{files}/client.crt"\nkey_file = "{files}/client.key"'):
        file = _config(
            tmp_path, f'ca_file = "{files}/ca.crt"\ntoken_file = "{files}/token"\ncert_file = {certificate}'
        )
        assert check(Sources(config=str(file))) == 0


@pytest.mark.parametrize(
    ("setting", "name", "fault"),
    [
        ("ca_file", "nowhere", "cannot be read: no such file or directory"),
        ("ca_file", ".", "cannot be read: is a directory"),
        ("ca_file", "empty", "is not a PEM certificate"),
        ("ca_file", "binary", "is not a PEM certificate"),
        ("ca_file", "half.crt", "is not a PEM certificate"),
        ("ca_file", "client.key", "is not a PEM certificate"),
        ("ca_file", "/dev/zero", "cannot be read: not a regular file"),
        ("cert_file", "nowhere", "cannot be read: no such file or directory"),
        ("cert_file", "half.crt", "is not a PEM certificate"),
        ("cert_file", "client.crt", "holds no private key in PEM form"),
        ("token_file", "nowhere", "cannot be read: no such file or directory"),
        ("token_file", "empty", "holds no token"),
        ("token_file", "two lines", "holds no token"),
    ],
)
def test_a_file_that_will_not_do(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, name: str, fault: str
) -> None:
    path = str(files / name)
    before = f'ca_file = "{files}/ca.crt"' if setting != "ca_file" else "fall = 3"
    assert _faults(tmp_path, f'{before}\n{setting} = "{path}"', capsys) == [
        f'8: pool.a.health.{setting}: "{path}" {fault}'
    ]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("nowhere", "cannot be read: no such file or directory"),
        ("empty", "holds no private key in PEM form"),
        ("client.crt", "holds no private key in PEM form"),
        ("other.key", "holds a key that does not match the certificate"),
        ("encrypted.key", "holds an encrypted key, and there is nobody to ask for its passphrase"),
    ],
)
def test_a_key_that_will_not_do(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, fault: str
) -> None:
    health = f'cert_file = "{files}/client.crt"\nkey_file = "{files}/{name}"'
    assert _faults(tmp_path, health, capsys) == [f'8: pool.a.health.key_file: "{files}/{name}" {fault}']


def test_a_file_that_is_closed_to_us(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = files / "closed"
    token.write_text("secret")
    token.chmod(0)
    file = _config(tmp_path, f'token_file = "{token}"\nca_file = "{files}/ca.crt"')
    open_to_all(files)
    open_to_all(tmp_path)
    file.chmod(0o644)
    with as_nobody():
        assert check(Sources(config=str(file))) == 1
    assert capsys.readouterr().err == (
        f'{file}:7: pool.a.health.token_file: "{token}" cannot be read: permission denied\n'
    )


def test_all_faults_at_once(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _faults(tmp_path, 'probe = "tcp"\nca_file = "/x"\ninterval = "0s"\nexpect = [99]', capsys) == [
        "10: pool.a.health.expect: means nothing with probe tcp; leave it out, or probe by https or http",
        "8: pool.a.health.ca_file: means nothing with probe tcp; leave it out, or probe by https or tls",
        "9: pool.a.health.interval: zero or too long; write a time above 0 and up to ten years",
        "10: pool.a.health.expect[0]: 99 is not an HTTP status; write a number from 100 to 599",
    ]
    assert len(_faults(tmp_path, f'ca_file = "{files}/empty"\ntoken_file = "/nowhere"', capsys)) == 2


def _check(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return _run([str(KUBELB), "check", "--nginx-conf", str(_RKE), *arguments], environment)


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=DEADLINE, check=False)


def test_flags_beside_nginx_conf(files: Path) -> None:
    run = _check(
        *("--health", "https:/readyz", "--health-ca", str(files / "ca.crt"), "--on-down", "drain"),
        *("--drain-timeout", "2m", "--rebalance", "30s"),
    )
    assert (run.returncode, run.stdout) == (0, f"{_RKE}: ok\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--health", "htps"], 'not "htps"; write off, tcp, tls, http:/path or https:/path'),
        (["--health", "https:readyz"], '"readyz" is not a path; begin it with /'),
        (["--on-down", "kill"], 'not "kill"; one of reset, drain, keep'),
        (["--drain-timeout", "soon"], 'not a duration: "soon"'),
        (["--rebalance", "often"], 'not a duration: "often"'),
    ],
)
def test_a_wrong_flag(arguments: list[str], words: str) -> None:
    run = _check(*arguments)
    assert (run.returncode, run.stdout) == (2, "")
    assert f": {arguments[0]}: {words}" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_a_flag_that_breaks_a_rule(files: Path) -> None:
    run = _check("--health-ca", str(files / "ca.crt"))
    fault = "--health-ca: means nothing with probe off; leave it out, or probe by https or tls\n"
    assert (run.returncode, run.stdout, run.stderr) == (1, "", fault)
    run = _check("--health", "https", "--health-ca", "/nowhere")
    fault = '--health-ca: "/nowhere" cannot be read: no such file or directory\n'
    assert (run.returncode, run.stdout, run.stderr) == (1, "", fault)


def test_the_environment() -> None:
    command = [str(KUBELB), "check", "--nginx-conf", str(_RKE)]
    run = _run(command, {"KUBELB_HEALTH": "https:/readyz", "KUBELB_REBALANCE": "10s", "KUBELB_HELTH": "x"})
    assert (run.returncode, run.stdout) == (0, f"{_RKE}: ok\n")
    assert 'warning: KUBELB_HELTH: unknown variable; did you mean "KUBELB_HEALTH"?' in run.stderr.splitlines()
    run = _run(command, {"KUBELB_HEALTH": "htps", "KUBELB_ON_DOWN": "kill"})
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.splitlines() == [
        'KUBELB_HEALTH: not "htps"; write off, tcp, tls, http:/path or https:/path',
        'KUBELB_ON_DOWN: not "kill"; write reset, drain or keep',
    ]


def test_the_environment_of_kubelb_nginx(tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("kubelb-nginx"))
    command = [program, "-t", "-c", str(_RKE), "-g", f"pid {tmp_path}/pid;"]
    run = _run(command, {"KUBELB_HEALTH": "https:/readyz", "KUBELB_REBALANCE": "10s", "KUBELB_HELTH": "x"})
    assert (run.returncode, run.stdout) == (0, "")
    *warnings, syntax, success = run.stderr.splitlines()
    assert 'nginx: [warn] KUBELB_HELTH: unknown variable; did you mean "KUBELB_HEALTH"?' in warnings
    assert syntax == f"nginx: the configuration file {_RKE} syntax is ok"
    assert success == f"nginx: configuration file {_RKE} test is successful"
    run = _run(command, {"KUBELB_HEALTH": "htps"})
    assert (run.returncode, run.stdout) == (1, "")
    fault = '"KUBELB_HEALTH": not "htps"; write off, tcp, tls, http:/path or https:/path'
    assert run.stderr.splitlines() == [
        f"nginx: [emerg] {fault}",
        f"nginx: configuration file {_RKE} test failed",
    ]


def test_a_flag_goes_before_the_environment() -> None:
    assert _check("--health", "tcp", KUBELB_HEALTH="https", KUBELB_HEALTH_CA="/nowhere").returncode == 0
    assert _check(KUBELB_HEALTH="https", KUBELB_HEALTH_CA="/nowhere").returncode == 1
