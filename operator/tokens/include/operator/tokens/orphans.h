// Secrets of the gateway's namespace whose workspace is gone without its finalizer: somebody took
// that away by force. A Secret in another namespace has no owner that would take it along.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <kube/client.h>
#include <operator/tokens/steward.h>

namespace palisade::op::tokens {

struct OrphanOptions {
  std::string ns;          // the gateway's
  std::string selector;    // by which its git tokens are known
  std::string prefix;      // of their names, before the workspace's uid
  std::string annotation;  // in which they name their workspace, NAMESPACE/NAME
  kube::Resource workspaces;
  std::vector<std::string> namespaces = {};  // workspaces of others are let be; empty: of none
  // Says at once, and without the API server, that a workspace (NAMESPACE/NAME) with that uid is
  // there; false is no answer, and the API server is asked. Empty: it is asked of each.
  std::function<bool(const std::string& workspace, const std::string& uid)> lives = {};
  std::chrono::milliseconds first{0};  // after start()
  std::chrono::milliseconds every{std::chrono::minutes(5)};
};

// Takes back what such a Secret holds, then the Secret. One whose tokens a host does not take back
// now stays for the next time; where nobody can (the credentials went too) the log names the
// tokens. What cannot be told to be an orphan is none. Needs list on the Secrets of that namespace.
class OrphanSweep {
 public:
  OrphanSweep(std::shared_ptr<const kube::Client> client, std::shared_ptr<const Steward> steward,
              OrphanOptions options);
  ~OrphanSweep();  // stops
  OrphanSweep(const OrphanSweep&) = delete;
  OrphanSweep& operator=(const OrphanSweep&) = delete;

  void start();  // a round at OrphanOptions::first, and then every so often
  // One round; how many Secrets went. Blocks.
  [[nodiscard]] int sweep(const std::stop_token& stop) const;

 private:
  enum class Done { kGone, kStays, kNone };
  [[nodiscard]] Done one(const nlohmann::json& secret, const std::stop_token& stop) const;
  [[nodiscard]] bool orphan(const std::string& workspace, const std::string& uid,
                            const std::stop_token& stop) const;
  [[nodiscard]] bool take_back(const nlohmann::json& secret, const std::string& uid,
                               const std::string& workspace, const std::stop_token& stop) const;

  const std::shared_ptr<const kube::Client> client_;
  const std::shared_ptr<const Steward> steward_;
  const OrphanOptions options_;
  std::jthread thread_;
};

}  // namespace palisade::op::tokens
