// Whether images are signed: asks their registries, and remembers what they said.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <policy/signatures.h>
#include <webhook/cluster_view.h>

namespace prometheus {
class Registry;
}

namespace palisade::webhook {

struct SignaturesOptions {
  // PEM of the only authorities that may vouch for registries; empty: the system's.
  std::filesystem::path ca_file;
  // Of the form of Docker's config.json, read anew for each image; empty: none.
  std::filesystem::path credentials_file;
  // HOST or HOST:PORT that registries may send the webhook to beside themselves: token services,
  // and storage of blobs, which never gets a credential.
  std::vector<std::string> other_hosts;
  // For one image, whatever its review's deadline.
  std::chrono::milliseconds patience{4'000};
  // That an image is not signed may be put right; that it is stays so.
  std::chrono::milliseconds refusal_kept{5'000};
  std::size_t max_signed = 4096;
  std::size_t max_refused = 1024;
  // Callers that wait for registries at a time: a slow one must not take every thread that waits.
  std::size_t max_waiting = 4;
};

// "" or what is wrong with a public key, a sentence that begins "is" or "has".
[[nodiscard]] std::string public_key_problem(std::string_view pem);

// Thread-safe. Only the registry that an image names is asked, and what stands in `other_hosts`:
// whoever calls makes sure that a rule's repositories name it.
class Signatures {
 public:
  // Counts what came of questions to registries in `registry`, which outlives it.
  Signatures(SignaturesOptions options, prometheus::Registry& registry);
  ~Signatures();
  Signatures(const Signatures&) = delete;
  Signatures& operator=(const Signatures&) = delete;

  // Whether one of the rule's keys signed the image: "" where one did, else why that is not so. An
  // error says why it cannot be told.
  using Answer = Lookup<std::string>;
  // nullopt where a registry must be asked.
  [[nodiscard]] std::optional<Answer> known(const policy::ImageToVerify& image,
                                            const policy::SignatureRule& rule) const;
  // Waits, until `deadline` at the latest. Who asks the same at the same time shares the answer.
  [[nodiscard]] Answer ask(const policy::ImageToVerify& image, const policy::SignatureRule& rule,
                           std::chrono::steady_clock::time_point deadline);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::webhook
