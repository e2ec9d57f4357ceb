"""Interfaces, routes and the outside test host. The first rule: no packet for a cluster address may leave by the default route."""

from __future__ import annotations

import json
import pathlib
import sys

from e2e.cluster import processes, settings
from e2e.cluster.processes import run

_FORWARDING = pathlib.Path("/proc/sys/net/ipv4/ip_forward")
_BASE_TABLE = "palisade_base"


def _has_interface(name: str) -> bool:
    return pathlib.Path(f"/sys/class/net/{name}").exists()


def _default_device() -> str | None:
    routes = json.loads(run("ip", "-j", "-4", "route", "show", "default").stdout or "[]")
    return routes[0]["dev"] if routes else None


def up() -> None:
    for interface, address in ((settings.NODE_INTERFACE, settings.NODE_IP), (settings.GIT_INTERFACE, settings.GIT_IP)):
        if not _has_interface(interface):
            run("ip", "link", "add", interface, "type", "bridge")
        run("ip", "addr", "replace", f"{address}/32", "dev", interface)
        run("ip", "link", "set", interface, "up")
    # What kube-proxy has not translated dies in a bridge that has no port; a pod's own /32 route beats the unreachable one.
    run("ip", "route", "replace", settings.SERVICE_RANGE, "dev", settings.NODE_INTERFACE)
    run("ip", "route", "replace", "unreachable", settings.POD_RANGE)
    # Until the outside host has this address nobody has it.
    if not _has_interface(settings.OUTSIDE_INTERFACE):
        run("ip", "route", "replace", "unreachable", f"{settings.METADATA_IP}/32")
    settings.STATE.mkdir(parents=True, exist_ok=True)
    saved = settings.STATE / "ip_forward"
    if not saved.exists():
        saved.write_text(_FORWARDING.read_text())
    _FORWARDING.write_text("1")
    _fence()
    _outside_up()


def _fence() -> None:
    """Nothing that comes from or goes to the pods crosses the machine's own uplink."""
    device = _default_device()
    rules = ""
    if device:
        rules = f"""
    ip saddr {{ {settings.POD_RANGE}, {settings.OUTSIDE_RANGE} }} oifname "{device}" drop
    ip daddr {settings.METADATA_IP} oifname "{device}" drop
    ip daddr {{ {settings.POD_RANGE}, {settings.SERVICE_RANGE} }} iifname "{device}" drop"""
    run("nft", "-f", "-", stdin=f"""
table inet {_BASE_TABLE}
delete table inet {_BASE_TABLE}
table inet {_BASE_TABLE} {{
  chain forward {{
    type filter hook forward priority -10; policy accept;{rules}
  }}
}}
""")  # fmt: skip


def _outside_up() -> None:
    """A host of its own in a network namespace, that answers on port 80: what an agent must not reach."""
    namespace = settings.OUTSIDE_NAMESPACE
    if namespace not in run("ip", "netns", "list").stdout.split():
        run("ip", "netns", "add", namespace)
    if not _has_interface(settings.OUTSIDE_INTERFACE):
        run("ip", "link", "add", settings.OUTSIDE_INTERFACE, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    run("ip", "addr", "replace", f"{settings.OUTSIDE_GATEWAY}/24", "dev", settings.OUTSIDE_INTERFACE)
    run("ip", "link", "set", settings.OUTSIDE_INTERFACE, "up")
    for command in (
        ["addr", "replace", f"{settings.OUTSIDE_IP}/24", "dev", "eth0"],
        ["addr", "replace", f"{settings.METADATA_IP}/32", "dev", "eth0"],
        ["link", "set", "eth0", "up"],
        ["link", "set", "lo", "up"],
        ["route", "replace", "default", "via", settings.OUTSIDE_GATEWAY],
    ):
        run("ip", "-n", namespace, *command)
    run("ip", "route", "replace", f"{settings.METADATA_IP}/32", "dev", settings.OUTSIDE_INTERFACE)
    run("ip", "route", "delete", "unreachable", f"{settings.METADATA_IP}/32", check=False)
    for name, address in (("outside", settings.OUTSIDE_IP), ("metadata", settings.METADATA_IP)):
        processes.start(
            name,
            ["ip", "netns", "exec", namespace, sys.executable, "-m", "http.server", str(settings.OUTSIDE_PORT), "--bind", address],
            directory=pathlib.Path("/var/empty") if pathlib.Path("/var/empty").is_dir() else settings.RUN,
        )


def down() -> None:
    for name in ("outside", "metadata"):
        processes.stop(name)
    run("ip", "netns", "delete", settings.OUTSIDE_NAMESPACE, check=False)
    for interface in (settings.OUTSIDE_INTERFACE, settings.NODE_INTERFACE, settings.GIT_INTERFACE):
        run("ip", "link", "delete", interface, check=False)
    for addresses in (settings.POD_RANGE, f"{settings.METADATA_IP}/32"):
        run("ip", "route", "delete", "unreachable", addresses, check=False)
    for family, table in (("inet", _BASE_TABLE), ("inet", "palisade_netpol"), ("ip", "kube-proxy"), ("ip6", "kube-proxy")):
        run("nft", "delete", "table", family, table, check=False)
    saved = settings.STATE / "ip_forward"
    if saved.exists():
        _FORWARDING.write_text(saved.read_text())
