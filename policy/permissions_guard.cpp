#include "permissions_guard.h"

#include <algorithm>

#include "permissions_reader.h"

namespace palisade::policy {

namespace {

using simdjson::dom::element;

constexpr std::string_view kProgram = "/palisade/bin/palisade-guard";
constexpr std::string_view kVersion = "palisade.dev/guard/v1";

bool below(const std::string& path, const std::string& folder) {
  return path == folder ||
         (path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/');
}

std::vector<std::string> texts_at(element object, const std::string& pointer) {
  std::vector<std::string> out;
  each_at(object, pointer, [&](element item, const std::string&) { out.push_back(text_of(item)); });
  return out;
}

// The file of --policy, where the command is guard's `run`; "" else.
std::string policy_file(element container) {
  const std::vector<std::string> words = texts_at(container, "/command");
  if (words.size() < 4 || words[0] != kProgram || words[1] != "run") return {};
  for (std::size_t i = 2; i + 1 < words.size() && words[i] != "--"; ++i) {
    if (words[i] == "--policy") return words[i + 1];
  }
  return {};
}

// The container cannot replace the program that it starts.
bool program_is_fixed(element container) {
  bool fixed = false;
  each_at(container, "/volumeMounts", [&](element mount, const std::string&) {
    if (text_at(mount, "/mountPath") == "/palisade/bin")
      fixed = bool_at(mount, "/readOnly").value_or(false);
  });
  return fixed;
}

// The ConfigMap and key that a file of the container is.
std::pair<std::string, std::string> source_of(element pod, element container,
                                              const std::string& file) {
  std::pair<std::string, std::string> out;
  each_at(container, "/volumeMounts", [&](element mount, const std::string&) {
    const std::string folder = text_at(mount, "/mountPath");
    if (!below(file, folder) || file.size() <= folder.size() + 1) return;
    const std::string name = file.substr(folder.size() + 1);
    each_at(pod, "/spec/volumes", [&](element volume, const std::string&) {
      if (text_at(volume, "/name") != text_at(mount, "/name")) return;
      const std::string map = text_at(volume, "/configMap/name");
      element items;
      if (map.empty()) return;
      if (volume.at_pointer("/configMap/items").get(items) != simdjson::SUCCESS) {
        out = {map, name};
        return;
      }
      each_at(volume, "/configMap/items", [&](element item, const std::string&) {
        if (text_at(item, "/path") == name) out = {map, text_at(item, "/key")};
      });
    });
  });
  return out;
}

// What a file without the field means: guard/policy.h.
std::vector<std::string> or_default(std::vector<std::string> given,
                                    std::vector<std::string> fallback) {
  return given.empty() ? std::move(fallback) : std::move(given);
}

std::optional<GuardView> read(element policy) {
  if (text_at(policy, "/version") != kVersion) return std::nullopt;
  GuardView out;
  const std::string mode = text_at(policy, "/mode");
  out.enforces = mode.empty() || mode == "Enforce";
  out.profile = text_at(policy, "/exec/profile");
  if (out.profile.empty()) out.profile = "aider";
  out.allow = texts_at(policy, "/exec/allow");
  for (std::string& name : texts_at(policy, "/exec/commands"))
    out.allow.push_back(std::move(name));
  for (const std::string& folder : texts_at(policy, "/exec/folders"))
    out.allow.push_back(folder + "/*");
  out.write = or_default(texts_at(policy, "/files/write"), {"/workspace", "/tmp"});
  out.read = or_default(texts_at(policy, "/files/read"),
                        {"/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/dev", "/proc",
                         "/sys", "/var", "/workspace", "/tmp", "/palisade/policy"});
  bool broken = false;
  each_at(policy, "/network/connect", [&](element peer, const std::string&) {
    const auto range = parse_cidr(text_at(peer, "/cidr"));
    if (!range) {
      broken = true;
      return;
    }
    const auto first = int_at(peer, "/port").value_or(0);
    out.connect.push_back(
        {*range, first, int_at(peer, "/endPort").value_or(first), text_at(peer, "/cidr")});
  });
  if (broken) return std::nullopt;
  return out;
}

}  // namespace

bool GuardView::may_write(const std::string& path) const {
  return std::ranges::any_of(write, [&](const std::string& folder) { return below(path, folder); });
}

bool GuardView::may_read(const std::string& path) const {
  return std::ranges::any_of(read, [&](const std::string& folder) { return below(path, folder); });
}

bool GuardView::may_connect(const Cidr& address) const {
  return std::ranges::any_of(connect,
                             [&](const GuardPeer& peer) { return peer.range.overlaps(address); });
}

std::optional<GuardView> guard_of(element objects, element pod, element container) {
  const std::string file = policy_file(container);
  if (file.empty() || !program_is_fixed(container)) return std::nullopt;
  const auto [map, key] = source_of(pod, container, file);
  if (map.empty() || key.empty()) return std::nullopt;
  std::optional<GuardView> out;
  each_at(objects, "/configMaps", [&](element object, const std::string&) {
    if (text_at(object, "/metadata/name") != map) return;
    const std::string text = text_at(object, "/data/" + key);
    simdjson::dom::parser parser;
    const simdjson::padded_string padded(text);
    element policy;
    if (text.empty() || parser.parse(padded).get(policy) != simdjson::SUCCESS) return;
    out = read(policy);
    if (out)
      out->from =
          "ConfigMap " + text_at(object, "/metadata/namespace") + "/" + map + " /data/" + key;
  });
  return out;
}

}  // namespace palisade::policy
