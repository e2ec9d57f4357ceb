// Keys and signatures as cosign makes them, and a registry on loopback that serves them over TLS.
// Link Boost::boost, OpenSSL::SSL, nlohmann_json.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <kube/base64.h>
#include <policy/signatures.h>

#include "kube/scripted_server.h"
#include "signatures/cosign.h"
#include "signatures/keys.h"

namespace palisade::webhook::testing {

using nlohmann::json;

// Who signs: a key pair.
class Signer {
 public:
  explicit Signer(EVP_PKEY* key) : key_(key) { test_pki::detail::must(key != nullptr, "key"); }
  static Signer ecdsa(const char* curve = "P-256") { return Signer(EVP_EC_gen(curve)); }
  static Signer rsa(unsigned int bits = 2048) { return Signer(EVP_RSA_gen(bits)); }
  static Signer ed25519() { return Signer(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")); }

  [[nodiscard]] std::string pem() const {
    return test_pki::detail::to_pem(
        [&](BIO* bio) { return PEM_write_bio_PUBKEY(bio, key_.get()); });
  }
  [[nodiscard]] std::string private_pem() const {
    return test_pki::detail::to_pem([&](BIO* bio) {
      return PEM_write_bio_PKCS8PrivateKey(bio, key_.get(), nullptr, nullptr, 0, nullptr, nullptr);
    });
  }
  // `over`: another hash than cosign's usual one.
  [[nodiscard]] std::string sign(const std::string& bytes, const EVP_MD* over = nullptr) const {
    const kube::OpenSslPtr<EVP_MD_CTX, EVP_MD_CTX_free> context(EVP_MD_CTX_new());
    const EVP_MD* const digest = is_ed25519(key_.get()) ? nullptr
                                 : over != nullptr      ? over
                                                        : EVP_sha256();
    const auto* const data = reinterpret_cast<const unsigned char*>(bytes.data());
    std::size_t size = 0;
    test_pki::detail::must(
        EVP_DigestSignInit(context.get(), nullptr, digest, nullptr, key_.get()) == 1 &&
            EVP_DigestSign(context.get(), nullptr, &size, data, bytes.size()) == 1,
        "signature");
    std::string out(size, '\0');
    test_pki::detail::must(
        EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &size, data,
                       bytes.size()) == 1,
        "signature");
    out.resize(size);
    return out;
  }

 private:
  kube::KeyPtr key_;
};

inline std::string digest_of(const std::string& bytes) {
  return "sha256:" + sha256_of(bytes);
}

// Of an image that nobody has.
inline std::string digest(char digit) {
  return "sha256:" + std::string(64, digit);
}

// What is signed of an image.
inline std::string payload_of(const std::string& image_digest) {
  return R"({"critical":{"identity":{"docker-reference":"registry.example.com/palisade/aider"},)"
         R"("image":{"docker-manifest-digest":")" +
         image_digest + R"("},"type":"cosign container image signature"},"optional":null})";
}

inline json layer_of(const std::string& payload, const std::string& signature) {
  return {
      {"mediaType", "application/vnd.dev.cosign.simplesigning.v1+json"},
      {"size", payload.size()},
      {"digest", digest_of(payload)},
      {"annotations", {{"dev.cosignproject.cosign/signature", kube::encode_base64(signature)}}}};
}

inline json manifest_of(const json& layers) {
  return {{"schemaVersion", 2},
          {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
          {"config",
           {{"mediaType", "application/vnd.oci.image.config.v1+json"},
            {"size", 2},
            {"digest", digest_of("{}")}}},
          {"layers", layers}};
}

inline policy::SignatureRule rule_of(const std::string& repository,
                                     const std::vector<std::string>& pems) {
  policy::SignatureRule out;
  out.repositories = {repository};
  for (const std::string& pem : pems)
    out.keys.push_back({"key-" + std::to_string(out.keys.size()), pem});
  return out;
}

class TestRegistry {
 public:
  struct Reply {
    std::string body;
    std::string status = "200 OK";
    std::string headers{};  // each with its line break
  };
  struct Call {
    std::string target;
    std::string authorization;  // the header's value, "" for none
    bool operator==(const Call&) const = default;
  };
  // What answers instead of what was put, if it says anything.
  using Guard = std::function<std::optional<Reply>(const Call&)>;

  TestRegistry() { std::ofstream(ca_file()) << authority_.certificate; }
  ~TestRegistry() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  TestRegistry(const TestRegistry&) = delete;
  TestRegistry& operator=(const TestRegistry&) = delete;

  [[nodiscard]] std::string host() const { return "127.0.0.1:" + server_.port(); }
  [[nodiscard]] std::filesystem::path ca_file() const { return folder_ / "ca.pem"; }
  [[nodiscard]] std::filesystem::path write(const std::string& name,
                                            const std::string& text) const {
    const auto path = folder_ / name;
    std::ofstream(path) << text;
    return path;
  }

  void put(const std::string& target, Reply reply) {
    const std::scoped_lock lock(mutex_);
    replies_[target] = std::move(reply);
  }
  void put_manifest(const std::string& repository, const std::string& image_digest,
                    const std::string& text) {
    put("/v2/" + repository + "/manifests/" + signature_tag(image_digest),
        {text, "200 OK", "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n"});
  }
  void put_blob(const std::string& repository, const std::string& bytes) {
    put("/v2/" + repository + "/blobs/" + digest_of(bytes), {bytes});
  }
  // As cosign leaves it behind.
  void sign(const std::string& repository, const std::string& image_digest,
            const std::vector<const Signer*>& signers) {
    const std::string payload = payload_of(image_digest);
    json layers = json::array();
    for (const Signer* signer : signers)
      layers.push_back(layer_of(payload, signer->sign(payload)));
    put_blob(repository, payload);
    put_manifest(repository, image_digest, manifest_of(layers).dump());
  }
  void guard(Guard guard) {
    const std::scoped_lock lock(mutex_);
    guard_ = std::move(guard);
  }
  // Before each answer.
  void delay(std::chrono::milliseconds time) {
    const std::scoped_lock lock(mutex_);
    delay_ = time;
  }
  [[nodiscard]] std::vector<Call> calls() const {
    const std::scoped_lock lock(mutex_);
    return calls_;
  }
  [[nodiscard]] std::vector<std::string> targets() const {
    std::vector<std::string> out;
    for (const Call& call : calls())
      out.push_back(call.target);
    return out;
  }

 private:
  static std::filesystem::path make_folder() {
    std::string text = (std::filesystem::temp_directory_path() / "registry.XXXXXX").string();
    test_pki::detail::must(mkdtemp(text.data()) != nullptr, "folder");
    return text;
  }
  static std::string value_of(const std::string& request, const std::string& name) {
    const auto at = request.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const auto begin = at + name.size() + 4;
    return request.substr(begin, request.find("\r\n", begin) - begin);
  }

  void serve(scripted::Peer& peer) {
    for (std::string request; !(request = peer.read_request()).empty();) {
      const auto first = request.find(' ');
      const Call call{request.substr(first + 1, request.find(' ', first + 1) - first - 1),
                      value_of(request, "Authorization")};
      std::chrono::milliseconds delay{0};
      Reply reply{"", "404 Not Found"};
      Guard guard;
      {
        const std::scoped_lock lock(mutex_);
        calls_.push_back(call);
        delay = delay_;
        guard = guard_;
        const auto found = replies_.find(call.target);
        if (found != replies_.end()) reply = found->second;
      }
      if (auto said = guard ? guard(call) : std::nullopt) reply = std::move(*said);
      if (delay.count() > 0) server_.pause(delay);
      if (!peer.respond(reply.body, reply.status, reply.headers)) return;
    }
  }

  const std::filesystem::path folder_ = make_folder();
  const test_pki::Pair authority_ = test_pki::make_ca();
  mutable std::mutex mutex_;
  std::map<std::string, Reply> replies_;
  Guard guard_;
  std::chrono::milliseconds delay_{0};
  std::vector<Call> calls_;
  // Last: its threads use what stands above.
  scripted::Server server_{{test_pki::issue(authority_, {.common_name = "registry",
                                                         .dns_names = {"localhost"},
                                                         .addresses = {"127.0.0.1"},
                                                         .organization = ""}),
                            "", false},
                           [this](scripted::Peer& peer, int /*number*/) { serve(peer); }};
};

}  // namespace palisade::webhook::testing
