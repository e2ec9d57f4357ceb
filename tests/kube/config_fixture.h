// A folder with kubeconfigs, an environment without any, and a clock.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <kube/config.h>

#include "kube/test_pki.h"

namespace config_testing {

inline std::string base64(const std::string& text) {
  std::string out(4 * (text.size() / 3 + 1) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  out.resize(static_cast<std::size_t>(length));
  return out;
}

inline const test_pki::Pair& authority() {
  static const test_pki::Pair kAuthority = test_pki::make_ca();
  return kAuthority;
}
inline test_pki::Pair client(const std::string& name) {
  return test_pki::issue(authority(),
                         {name, {}, {}, test_pki::Purpose::kClient, std::chrono::hours(24), ""});
}

// A token of an identity provider, signed by nobody.
inline std::string id_token(const std::string& claims) {
  std::string part = base64(claims);
  std::erase(part, '=');
  std::ranges::replace(part, '+', '-');
  std::ranges::replace(part, '/', '_');
  return "e30." + part + ".c2ln";
}
// One that ends in so long.
inline std::string id_token_of(const std::string& user, std::chrono::seconds left) {
  const auto end = std::chrono::system_clock::now() + left;
  return id_token("{\"sub\":\"" + user +
                  "\",\"exp\":" + std::to_string(std::chrono::system_clock::to_time_t(end)) + "}");
}

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() {
    std::string name = (std::filesystem::temp_directory_path() / "palisade-config-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = name;
    for (const char* variable : kVariables)
      unsetenv(variable);
    setenv("HOME", directory_.c_str(), 1);
  }
  ~ConfigTest() override {
    std::filesystem::remove_all(directory_);
    for (const char* variable : kVariables)
      unsetenv(variable);
  }

  std::filesystem::path write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((directory_ / name).parent_path());
    std::ofstream(directory_ / name, std::ios::binary) << text;
    return directory_ / name;
  }
  // A kubeconfig with one context `c` of cluster `k` and user `u`.
  std::filesystem::path kubeconfig(const std::string& cluster, const std::string& user = "{}") {
    return write("config", "current-context: c\nclusters: [{name: k, cluster: " + cluster +
                               "}]\nusers: [{name: u, user: " + user +
                               "}]\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n");
  }
  std::function<std::chrono::steady_clock::time_point()> clock() {
    return [this] {
      return std::chrono::steady_clock::time_point(std::chrono::seconds(seconds_.load()));
    };
  }
  kube::Result<kube::Config> load(const std::filesystem::path& file,
                                  const std::string& context = "") {
    return kube::load_kubeconfig(file, context, clock());
  }

  static constexpr const char* kVariables[] = {"KUBERNETES_SERVICE_HOST",
                                               "KUBERNETES_SERVICE_PORT",
                                               "KUBECONFIG",
                                               "HTTPS_PROXY",
                                               "https_proxy",
                                               "HTTP_PROXY",
                                               "http_proxy",
                                               "NO_PROXY",
                                               "no_proxy"};
  std::filesystem::path directory_;
  std::atomic<int> seconds_ = 1000;
};

}  // namespace config_testing
