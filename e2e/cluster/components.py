"""The parts of the cluster: how each is configured, started and known to be ready."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import urllib.request

from e2e.cluster import processes, settings
from e2e.cluster.settings import API_PORT, BIN, CONTAINERD_SOCKET, NODE, NODE_IP, PKI, RUN, STATE


def kubectl(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return processes.run(str(BIN / "kubectl"), "--kubeconfig", str(settings.KUBECONFIG), *arguments, check=check)


def _http_ok(url: str) -> bool:
    context = ssl.create_default_context(cafile=str(PKI / "ca.pem")) if url.startswith("https") else None
    if context:
        context.load_cert_chain(PKI / "admin.pem", PKI / "admin-key.pem")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)).open(url, timeout=3) as answer:
            return answer.status == 200
    except OSError:
        return False


def etcd() -> None:
    url = f"http://127.0.0.1:{settings.ETCD_PORT}"
    peer = f"http://127.0.0.1:{settings.ETCD_PEER_PORT}"
    processes.start(
        "etcd",
        [str(BIN / "etcd"), "--name=palisade", f"--data-dir={STATE / 'etcd'}", f"--listen-client-urls={url}", f"--advertise-client-urls={url}",
         f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=palisade={peer}", "--unsafe-no-fsync", "--log-level=warn"],
    )  # fmt: skip
    processes.wait_for("etcd to be healthy", lambda: _http_ok(url + "/health"), "etcd", 60)


def apiserver() -> None:
    processes.start(
        "kube-apiserver",
        [str(BIN / "kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{settings.ETCD_PORT}", f"--advertise-address={NODE_IP}", f"--bind-address={NODE_IP}",
         f"--secure-port={API_PORT}", f"--service-cluster-ip-range={settings.SERVICE_RANGE}", "--authorization-mode=Node,RBAC",
         "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true", f"--client-ca-file={PKI / 'ca.pem'}",
         f"--tls-cert-file={PKI / 'apiserver.pem'}", f"--tls-private-key-file={PKI / 'apiserver-key.pem'}",
         f"--kubelet-certificate-authority={PKI / 'ca.pem'}", f"--kubelet-client-certificate={PKI / 'apiserver-kubelet.pem'}",
         f"--kubelet-client-key={PKI / 'apiserver-kubelet-key.pem'}", "--kubelet-preferred-address-types=InternalIP",
         "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={PKI / 'service-account-key.pem'}",
         f"--service-account-signing-key-file={PKI / 'service-account-key.pem'}"],
    )  # fmt: skip
    processes.wait_for("the API server to be ready", lambda: _http_ok(f"https://{NODE_IP}:{API_PORT}/readyz"), "kube-apiserver", 90)


def controller_manager() -> None:
    config = STATE / "kube-controller-manager.kubeconfig"
    processes.start(
        "kube-controller-manager",
        [str(BIN / "kube-controller-manager"), f"--kubeconfig={config}", f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}",
         "--bind-address=127.0.0.1", "--leader-elect=false", "--use-service-account-credentials=true", f"--root-ca-file={PKI / 'ca.pem'}",
         f"--service-account-private-key-file={PKI / 'service-account-key.pem'}", "--allocate-node-cidrs=false"],
    )  # fmt: skip


def scheduler() -> None:
    config = STATE / "kube-scheduler.kubeconfig"
    processes.start(
        "kube-scheduler",
        [str(BIN / "kube-scheduler"), f"--kubeconfig={config}", f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}",
         "--bind-address=127.0.0.1", "--leader-elect=false"],
    )  # fmt: skip


def containerd() -> None:
    cni = STATE / "cni"
    cni.mkdir(parents=True, exist_ok=True)
    network = {
        "cniVersion": "1.0.0",
        "name": "palisade",
        "plugins": [
            {
                "type": "ptp",
                "mtu": 1400,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(RUN / "ipam"),
                    "ranges": [[{"subnet": settings.POD_SUBNET}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }
    (cni / "10-palisade.conflist").write_text(json.dumps(network))
    config = STATE / "containerd.toml"
    config.write_text(
        f"""version = 3
root = "{STATE}/containerd"
state = "{RUN}/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[ttrpc]
  address = "{CONTAINERD_SOCKET}.ttrpc"
[plugins.'io.containerd.internal.v1.opt']
  path = "{STATE}/containerd-opt"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{settings.PAUSE_IMAGE}"
[plugins.'io.containerd.cri.v1.runtime']
  # The machine may lack CAP_SYS_RESOURCE; without this every sandbox would fail to lower its OOM score.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{BIN}/runc"
      SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{cni}"
"""
    )
    environment = {"PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"}
    processes.start("containerd", [str(BIN / "containerd"), "--config", str(config)], environment=environment)

    def ready() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(CONTAINERD_SOCKET)) == 0

    processes.wait_for("containerd to listen", ready, "containerd", 60)


def kubelet() -> None:
    (STATE / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    config = STATE / "kubelet.yaml"
    # JSON is YAML.
    config.write_text(
        json.dumps(
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "address": NODE_IP,
                "healthzBindAddress": "127.0.0.1",
                "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": str(PKI / "ca.pem")}},
                "authorization": {"mode": "Webhook"},
                "tlsCertFile": str(PKI / "kubelet.pem"),
                "tlsPrivateKeyFile": str(PKI / "kubelet-key.pem"),
                "cgroupDriver": "cgroupfs",
                "failCgroupV1": False,
                "failSwapOn": False,
                "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
                "podLogsDir": str(STATE / "pod-logs"),
                "resolvConf": str(STATE / "resolv.conf"),
                "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
                "imageGCHighThresholdPercent": 100,
                "imageGCLowThresholdPercent": 99,
                "maxPods": 100,
                "podPidsLimit": 512,
                "enableServer": True,
                "rotateCertificates": False,
            }
        )
    )
    processes.start(
        "kubelet",
        [str(BIN / "kubelet"), f"--config={config}", f"--kubeconfig={STATE / 'kubelet.kubeconfig'}", f"--root-dir={STATE / 'kubelet'}",
         f"--hostname-override={NODE}", f"--node-ip={NODE_IP}"],
        environment={"PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip

    def ready() -> bool:
        path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        return kubectl("get", "node", NODE, "-o", path, check=False).stdout == "True"

    processes.wait_for("the node to be Ready", ready, "kubelet", 120)


def proxy() -> None:
    config = STATE / "kube-proxy.yaml"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "mode": "nftables",
                "bindAddress": NODE_IP,
                "healthzBindAddress": "127.0.0.1:10256",
                "metricsBindAddress": "127.0.0.1:10249",
                "hostnameOverride": NODE,
                "clusterCIDR": settings.POD_RANGE,
                "clientConnection": {"kubeconfig": str(STATE / "kube-proxy.kubeconfig")},
                "conntrack": {"maxPerCore": 0, "min": 0},
                "nodePortAddresses": [f"{NODE_IP}/32"],
            }
        )
    )
    processes.start("kube-proxy", [str(BIN / "kube-proxy"), f"--config={config}"])
    processes.wait_for("kube-proxy to be healthy", lambda: _http_ok("http://127.0.0.1:10256/healthz"), "kube-proxy", 60)
