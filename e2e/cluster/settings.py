"""Every address, path and name of the local cluster, in one place."""

from __future__ import annotations

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build" / "tools" / "bin"
STATE = ROOT / "build" / "cluster"
LOGS = STATE / "logs"
PKI = STATE / "pki"
RUN = pathlib.Path("/run/palisade-e2e")  # sockets: their paths must stay short
KUBECONFIG = STATE / "kubeconfig"
IMAGES = ROOT / "build" / "images"

NODE = "palisade-node"
NODE_INTERFACE = "palisade0"
NODE_IP = "10.201.0.1"
POD_RANGE = "10.244.0.0/16"
POD_SUBNET = "10.244.0.0/24"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
API_PORT = 6443
ETCD_PORT = 23790
ETCD_PEER_PORT = 23800

GIT_INTERFACE = "palisade-git0"
GIT_IP = "10.202.0.10"
GIT_PORT = 3000
S3_PORT = 9000  # of a server at the same address

OUTSIDE_NAMESPACE = "palisade-outside"
OUTSIDE_INTERFACE = "palisade-out0"
OUTSIDE_RANGE = "10.203.0.0/24"
OUTSIDE_GATEWAY = "10.203.0.1"
OUTSIDE_IP = "10.203.0.10"
OUTSIDE_PORT = 80
# The same host answers as a cloud's metadata service: what an agent must reach least of all.
METADATA_IP = "169.254.169.254"

CONTAINERD_SOCKET = RUN / "containerd.sock"
PAUSE_IMAGE = "localhost/palisade/pause:dev"
