// JSON objects that are much alike as few bytes. Internal to kube/.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace kube {

// The first objects that are packed become the dictionary of the others: objects of one kind differ
// in their names, UIDs and times, and little else is left of them (Zstandard with a raw-content
// dictionary, https://datatracker.ietf.org/doc/html/rfc8878#section-5). A pod of 3 kB of text takes
// 23 kB as nlohmann::json. Unpacking takes about 20 us for each kB of text. Thread-safe.
class Packer {
 public:
  Packer();
  ~Packer();
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;

  // Empty where the object cannot be packed, as it holds text that is not UTF-8.
  [[nodiscard]] std::string pack(const nlohmann::json& object);
  // Of what this packer packed. Throws std::runtime_error for anything else.
  [[nodiscard]] nlohmann::json unpack(std::string_view packed) const;

 private:
  struct Dictionary;
  void learn(std::string_view text);

  mutable std::mutex mutex_;
  std::string samples_;
  std::shared_ptr<const Dictionary> dictionary_;  // once there are samples enough
};

}  // namespace kube
