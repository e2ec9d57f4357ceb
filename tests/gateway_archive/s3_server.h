// A real server that speaks S3 (versitygw) on a folder of the test's, over TLS: buckets are folders
// of it, and objects their files.
#pragma once

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <gateway/archive/config.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <kube/envtest_pki.h>

#include "envtest_process.h"
#include "free_port.h"
#include "gateway_archive/folder.h"

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
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!listens()) {
      if (!process_.running() || std::chrono::steady_clock::now() > deadline)
        throw std::runtime_error("versitygw does not listen: " + log());
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
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

  // NAMESPACE/WORKSPACE/WORKSPACEUID/PODUID
  [[nodiscard]] fs::path session(const std::string& path) const {
    return data() / kBucket / kPrefix / path;
  }
  static std::vector<fs::path> pieces(const fs::path& session, const std::string& stream) {
    std::vector<fs::path> out;
    if (!fs::exists(session / stream)) return out;
    for (const auto& one : fs::directory_iterator(session / stream))
      out.push_back(one.path());
    std::ranges::sort(out);
    return out;
  }
  // As somebody reads it: the pieces in the order of their names.
  static std::string whole(const fs::path& session, const std::string& stream) {
    std::string out;
    for (const auto& one : pieces(session, stream))
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
  [[nodiscard]] bool listens() const {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool out =
        ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    ::close(socket);
    return out;
  }
  [[nodiscard]] fs::path data() const { return folder_.path() / "data"; }
  [[nodiscard]] fs::path credentials() const { return folder_.path() / "credentials"; }

  const Folder folder_;
  const kube::envtest::Authority authority_;
  const std::uint16_t port_ = palisade::free_port();
  kube::envtest::Process process_;
};

}  // namespace palisade::gateway::archive::testing
