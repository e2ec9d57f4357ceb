"""python3 -m e2e.cluster up | down | status"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

from e2e.cluster import components, network, pki, processes, settings
from e2e.cluster.processes import Failed, run

ORDER = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "containerd", "kubelet", "kube-proxy", "netpol"]
_begun = time.monotonic()


def say(text: str) -> None:
    print(f"  [{time.monotonic() - _begun:5.1f}s] {text}", flush=True)


def netpol() -> None:
    server = f"https://{settings.NODE_IP}:{settings.API_PORT}"
    certificate = [f"--{option}={settings.PKI / file}" for option, file in (("ca", "ca.pem"), ("certificate", "admin.pem"), ("key", "admin-key.pem"))]
    processes.start("netpol", ["/usr/bin/python3", "-m", "e2e.cluster.netpol", f"--server={server}", *certificate, f"--pod-range={settings.POD_RANGE}"])
    table = ["nft", "list", "table", "inet", "palisade_netpol"]
    processes.wait_for("the NetworkPolicy stand-in to have its rules", lambda: run(*table, check=False).returncode == 0, "netpol", 30)


def pause_image() -> None:
    reference = settings.PAUSE_IMAGE
    ctr = [str(settings.BIN / "ctr"), "--address", str(settings.CONTAINERD_SOCKET), "-n", "k8s.io"]
    if reference in run(*ctr, "images", "ls", "-q").stdout.split():
        return
    folder = pathlib.Path(__file__).parent / "pause"
    run(str(pathlib.Path(__file__).parent / "image"), "build", reference, str(folder / "Dockerfile"), str(folder))
    run(str(pathlib.Path(__file__).parent / "image"), "load", reference)


STEPS: list[tuple[str, Callable[[], None]]] = [
    ("etcd", components.etcd),
    ("kube-apiserver", components.apiserver),
    ("kube-controller-manager", components.controller_manager),
    ("kube-scheduler", components.scheduler),
    ("containerd", components.containerd),
    ("pause image", pause_image),
    ("NetworkPolicy stand-in", netpol),
    ("kubelet", components.kubelet),
    ("kube-proxy", components.proxy),
]


def up() -> None:
    missing = [name for name in ("etcd", "kube-apiserver", "kubelet", "containerd", "runc", "kubectl") if not (settings.BIN / name).exists()]
    if missing:
        raise Failed(f"not built yet: {', '.join(missing)}. Run: make tools")
    if os.geteuid() != 0:
        raise Failed("the local cluster needs root (containers, network namespaces, nftables)")
    alive = [name for name in ORDER if processes.running(name)]
    if alive and len(alive) < len(ORDER):
        say(f"half of an older cluster is left ({', '.join(alive)}): starting afresh")
        down()
    elif len(alive) == len(ORDER):
        say("the cluster is up already")
        return
    settings.RUN.mkdir(parents=True, exist_ok=True)
    network.up()
    say("network: cluster ranges have routes of their own")
    pki.make_all()
    for name, step in STEPS:
        step()
        say(f"{name} is ready")


def _kill_containers() -> None:
    """Ends every container of our containerd, then the shims that are left, known by our socket's path in their command line."""
    ctr = [str(settings.BIN / "ctr"), "--address", str(settings.CONTAINERD_SOCKET), "-n", "k8s.io"]
    if processes.running("containerd"):
        for task in run(*ctr, "tasks", "ls", "-q", check=False).stdout.split():
            run(*ctr, "tasks", "kill", "--signal", "SIGKILL", task, check=False)
        time.sleep(0.5)
        for task in run(*ctr, "tasks", "ls", "-q", check=False).stdout.split():
            run(*ctr, "tasks", "delete", "--force", task, check=False)
    processes.stop("containerd")
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if command and command[0].endswith(b"containerd-shim-runc-v2") and str(settings.CONTAINERD_SOCKET).encode() in command:
            processes.end(int(entry.name), 2)


def _remove_pod_namespaces() -> None:
    prefix = settings.POD_SUBNET.rsplit(".", 1)[0] + "."
    for line in run("ip", "netns", "list", check=False).stdout.splitlines():
        name = line.split()[0] if line.split() else ""
        if name.startswith("cni-"):
            addresses = run("ip", "-n", name, "-o", "-4", "addr", check=False).stdout
            if prefix in addresses or " eth0 " not in addresses:
                run("ip", "netns", "delete", name, check=False)


def _unmount() -> None:
    mounts = [line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith((str(settings.STATE) + "/", str(settings.RUN) + "/")):
            run("umount", "-l", mount, check=False)


def _remove_cgroups() -> None:
    for controller in pathlib.Path("/sys/fs/cgroup").glob("*/kubepods"):
        for folder, _, _ in os.walk(controller, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass  # still in use by somebody else's kubelet: not ours to remove


def down() -> None:
    for name in ("kubelet", "kube-proxy", "netpol"):
        processes.stop(name)
    _kill_containers()
    # The API server before etcd, without which its shutdown waits in vain.
    rest = [name for name in processes.recorded() if name not in ("outside", "metadata")]
    for name in sorted(rest, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER), reverse=True):
        processes.stop(name)
    if settings.STATE.exists():
        network.down()
    _remove_pod_namespaces()
    _unmount()
    _remove_cgroups()
    shutil.rmtree(settings.STATE, ignore_errors=True)
    shutil.rmtree(settings.RUN, ignore_errors=True)


def status() -> int:
    for name in ORDER:
        print(f"  {name:26} {'running' if processes.running(name) else 'not running'}")
    if not processes.running("kube-apiserver"):
        return 1
    print(components.kubectl("get", "nodes,pods", "-A", "-o", "wide", check=False).stdout)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="e2e/cluster/cluster", description="The local one-node cluster: start, stop, look.")
    parser.add_argument("command", choices=["up", "down", "status"])
    command = parser.parse_args().command
    try:
        if command == "status":
            return status()
        if command == "down":
            down()
            say("the cluster is gone")
            return 0
        up()
        print(f"  kubectl: export KUBECONFIG={settings.KUBECONFIG} PATH={settings.BIN}:$PATH")
    except (Failed, subprocess.SubprocessError, OSError) as error:
        print(f"cluster {command}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
