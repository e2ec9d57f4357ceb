// The maps of a kubeconfig, with where each stands, for messages; and who the user is.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

#include <kube/config.h>
#include <kube/error.h>

#include "rotated.h"

namespace kube {

// A file and one map in it.
struct Section {
  std::filesystem::path file;
  std::string path;  // e.g. users[admin].user
  YAML::Node node;

  // "" where it is none.
  [[nodiscard]] std::string text(const std::string& field) const;
  [[nodiscard]] bool has(const std::string& field) const { return bool(node[field]); }
  // FILE: PATH.FIELD, for messages.
  [[nodiscard]] std::string where(const std::string& field) const;
  [[nodiscard]] std::unexpected<Error> fault(const std::string& field,
                                             const std::string& why) const;
  // A path in the file is relative to the file.
  [[nodiscard]] std::filesystem::path resolve(const std::string& text) const;
  // true or false; absent is false.
  [[nodiscard]] Result<bool> flag(const std::string& field) const;
  // A map in this one.
  [[nodiscard]] Result<Section> inner(const std::string& field) const;
  // Of a whole file: entry `name` of a list such as clusters, its `inner` map.
  [[nodiscard]] Result<std::optional<Section>> entry(const std::string& list,
                                                     const std::string& inner,
                                                     const std::string& name) const;
};

// A whole file, which need not be a map.
[[nodiscard]] Result<Section> read_root(const std::filesystem::path& file);

[[nodiscard]] std::string text_of(const YAML::Node& node);

// What stands in the file as JSON; scalars that YAML takes for numbers and truth values are these.
[[nodiscard]] nlohmann::json json_of(const YAML::Node& node, int depth = 0);

// FIELD-data (base64) goes before FIELD (a path). Neither: an empty text.
[[nodiscard]] Result<TextSource> pem_of(const Section& section, const std::string& field);
// The one of the two that pem_of() read.
[[nodiscard]] std::string used_field(const TextSource& source, const std::string& field);

// Who the user `name` is: gives `config` its bearer_token and its credentials, and returns what
// gives the certificate and the key. `cluster` is what a credential plugin may be told.
[[nodiscard]] Result<std::function<std::pair<std::string, std::string>()>> read_user(
    const Section& user, const std::string& name, const nlohmann::json& cluster, const Now& now,
    Config& config);

}  // namespace kube
