// A real etcd and kube-apiserver on loopback for the tests of whatever speaks to the API: no
// kubelet, no controllers, so nothing reconciles but what the test starts. The counterpart of
// controller-runtime's envtest. Target palisade_kube_envtest; no shipped program links it.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <kube/config.h>
#include <kube/error.h>

namespace kube {

struct EnvTestOptions {
  // Where etcd and kube-apiserver are; empty: $PALISADE_TOOLS_BIN.
  std::filesystem::path tools_bin;
  // Appended to the API server's own, e.g. --enable-admission-plugins=...; of a flag given twice
  // the last counts.
  std::vector<std::string> apiserver_flags;
  std::chrono::seconds ready_deadline{60};
};

// Everything is TLS with a CA made for this instance, RBAC is on, service account tokens can be
// issued. The ServiceAccount admission plugin is off, as no controller makes the `default` accounts
// that it wants. Ports are reserved for the life of the instance, so the API server comes back
// where it was. The servers die with the thread that started them (PR_SET_PDEATHSIG): a test that
// crashes leaves no process behind. Not thread-safe.
class EnvTest {
 public:
  using Options = EnvTestOptions;

  // Returns when /readyz is ok. Errors: a missing binary (says how to build it), a server that
  // ended or is not ready in time (with the end of its log).
  [[nodiscard]] static Result<std::unique_ptr<EnvTest>> start(Options options = {});
  // Ends both servers and removes the temporary directory.
  ~EnvTest();
  EnvTest(const EnvTest&) = delete;
  EnvTest& operator=(const EnvTest&) = delete;

  // A cluster administrator (group system:masters) with a client certificate.
  [[nodiscard]] Config config() const;
  [[nodiscard]] std::string kubeconfig_path() const;

  // Applies a CustomResourceDefinition (one document, YAML or JSON), then waits until it is
  // Established and its newest version answers a list (30 s).
  [[nodiscard]] Result<void> install_crd(const std::filesystem::path& file) const;

  // kGraceful is SIGTERM: watches are ended cleanly. kAbrupt is SIGKILL: connections are cut.
  enum class Stop { kGraceful, kAbrupt };
  // While stopped, connections are refused. Returns when the process is gone.
  [[nodiscard]] Result<void> stop_apiserver(Stop how = Stop::kGraceful);
  // The same address, certificates and data. Returns when /readyz is ok again.
  [[nodiscard]] Result<void> start_apiserver();

  // Compacts etcd at its newest revision: what is older is gone (410). The API server still answers
  // from its watch cache until it is started anew.
  [[nodiscard]] Result<void> compact() const;

 private:
  EnvTest();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kube
