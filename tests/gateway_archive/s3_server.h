// A real server that speaks S3 (versitygw) on a folder of the test's, over TLS: buckets are folders
// of it, and objects their files.
#pragma once

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <kube/envtest_pki.h>

#include "envtest_process.h"
#include "free_port.h"
#include "gateway_archive/fixture.h"

namespace palisade::gateway::archive::testing {

class S3Server {
 public:
  static constexpr const char* kBucket = "kept";
  static constexpr const char* kPrefix = "palisade/one";

  S3Server() : authority_(must(kube::envtest::Authority::make("s3"))) {
    fs::create_directories(data() / kBucket);
    const auto pair = must(authority_.issue({"versitygw", "", {}, {"127.0.0.1"}}));
    append(folder_.path() / "tls.pem", pair.certificate);
    append(folder_.path() / "tls-key.pem", pair.key);
    write_credentials("AKIDTEST", "a-secret/of+the=test");
  }

  // At the same address each time.
  void start() {
    const char* tools = std::getenv("PALISADE_TOOLS_BIN");
    if (tools == nullptr) throw std::runtime_error("PALISADE_TOOLS_BIN must name build/tools/bin");
    const std::string at = "127.0.0.1:" + std::to_string(port_);
    const auto started = process_.start(
        {std::string(tools) + "/versitygw", "--port", at, "--access", "AKIDTEST", "--secret",
         "a-secret/of+the=test", "--region", "eu-central-1", "--cert",
         (folder_.path() / "tls.pem").string(), "--key", (folder_.path() / "tls-key.pem").string(),
         "--quiet", "posix", data().string()},
        folder_.path() / "log");
    if (!started) throw std::runtime_error(started.error().message);
    const bool listens = gateway::testing::eventually([&] {
      if (!process_.running()) throw std::runtime_error("versitygw ended: " + log());
      try {
        const Wire connects(port_);
        return true;
      } catch (const std::runtime_error&) {
        return false;
      }
    });
    if (!listens) throw std::runtime_error("versitygw does not listen: " + log());
  }
  void stop() { process_.stop(SIGKILL, std::chrono::seconds(10)); }

  void write_credentials(const std::string& id, const std::string& secret) const {
    fs::create_directories(credentials());
    for (const auto& [name, text] : {std::pair{"accessKeyID", id}, {"secretAccessKey", secret}}) {
      std::ofstream(credentials() / ".new", std::ios::trunc) << text << "\n";
      fs::rename(credentials() / ".new", credentials() / name);
    }
  }
  [[nodiscard]] ArchiveConfig config(std::uint64_t bytes = 16UL << 20) const {
    ArchiveConfig out;
    out.s3 = S3Config{"https://127.0.0.1:" + std::to_string(port_),
                      "eu-central-1",
                      kBucket,
                      kPrefix,
                      credentials(),
                      authority_.certificate()};
    out.session_bytes = bytes;
    return out;
  }

  [[nodiscard]] fs::path session(const std::string& pod = "pod-1") const {
    return data() / kBucket / kPrefix / "team-a/fix-login/uid-1" / pod;
  }
  [[nodiscard]] std::vector<fs::path> pieces(const std::string& stream,
                                             const std::string& pod = "pod-1") const {
    std::vector<fs::path> out;
    if (!fs::exists(session(pod) / stream)) return out;
    for (const auto& one : fs::directory_iterator(session(pod) / stream))
      out.push_back(one.path());
    std::ranges::sort(out);
    return out;
  }
  // As somebody reads it: the pieces in the order of their names.
  [[nodiscard]] std::string whole(const std::string& stream,
                                  const std::string& pod = "pod-1") const {
    std::string out;
    for (const auto& one : pieces(stream, pod))
      out += read(one);
    return out;
  }
  [[nodiscard]] std::string log() const { return read(folder_.path() / "log"); }

 private:
  template <class T>
  static T must(kube::Result<T> given) {
    if (!given) throw std::runtime_error(given.error().message);
    return std::move(*given);
  }
  [[nodiscard]] fs::path data() const { return folder_.path() / "data"; }
  [[nodiscard]] fs::path credentials() const { return folder_.path() / "credentials"; }

  const Folder folder_;
  const kube::envtest::Authority authority_;
  const std::uint16_t port_ = palisade::free_port();
  kube::envtest::Process process_;
};

}  // namespace palisade::gateway::archive::testing
