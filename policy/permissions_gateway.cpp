#include "permissions_gateway.h"

#include <algorithm>
#include <string>
#include <vector>

#include "permissions_give.h"
#include "permissions_reader.h"

namespace palisade::policy {

namespace {

using simdjson::dom::element;

constexpr const char* kLlm = "network.egress.api.llm";
constexpr const char* kGit = "network.egress.git";

// The text of a ConfigMap's key, read as JSON.
class Config {
 public:
  Config(element config_map, const std::string& key)
      : from_("ConfigMap " + text_at(config_map, "/metadata/namespace") + "/" +
              text_at(config_map, "/metadata/name") + " /data/" + key) {
    const std::string text = text_at(config_map, "/data/" + key);
    known_ = !text.empty() &&
             parser_.parse(simdjson::padded_string(text)).get(root_) == simdjson::SUCCESS;
  }
  // Null where there is none.
  [[nodiscard]] const element* root() const { return known_ ? &root_ : nullptr; }
  [[nodiscard]] const std::string& from() const { return from_; }

 private:
  simdjson::dom::parser parser_;
  element root_;
  bool known_ = false;
  std::string from_;
};

// Directories in which the pod's containers find a token that is not for the API server.
std::vector<std::string> token_directories(element pod) {
  std::vector<std::string> volumes;
  each_at(pod, "/spec/volumes", [&](element volume, const std::string&) {
    each_at(volume, "/projected/sources", [&](element source, const std::string&) {
      if (!text_at(source, "/serviceAccountToken/audience").empty())
        volumes.push_back(text_at(volume, "/name"));
    });
  });
  std::vector<std::string> out;
  for (const char* list : {"containers", "initContainers"}) {
    each_at(pod, std::string("/spec/") + list, [&](element container, const std::string&) {
      each_at(container, "/volumeMounts", [&](element mount, const std::string&) {
        if (std::ranges::find(volumes, text_at(mount, "/name")) != volumes.end())
          out.push_back(text_at(mount, "/mountPath") + "/");
      });
    });
  }
  return out;
}

void give_models(element objects, const Grant& otherwise, Actor& actor) {
  bool named = false;
  each_at(objects, "/configMaps", [&](element config_map, const std::string&) {
    const Config config(config_map, "gateway.json");
    if (config.root() == nullptr) return;
    each_at(*config.root(), "/llm/upstreams", [&](element upstream, const std::string&) {
      named = true;
      give(actor, kLlm,
           {without_user(text_at(upstream, "/url")), "upstream " + text_at(upstream, "/name"),
            config.from()});
    });
  });
  if (!named) give(actor, kLlm, otherwise);
}

// The host of the repository; what the gateway fetches and pushes there is the courier's git.api.
void give_git(element objects, Actor& actor) {
  each_at(objects, "/configMaps", [&](element config_map, const std::string&) {
    const Config config(config_map, "courier.json");
    if (config.root() == nullptr) return;
    const std::string url = without_user(text_at(*config.root(), "/repositoryUrl"));
    if (!url.empty()) give(actor, kGit, {url, "for the courier", config.from()});
  });
}

}  // namespace

std::optional<Actor> gateway_actor(element objects, element pod) {
  const auto tokens = token_directories(pod);
  if (tokens.empty()) return std::nullopt;
  Actor out;
  out.container = out.role = "gateway";
  each_at(objects, "/configMaps", [&](element config_map, const std::string&) {
    const Config config(config_map, "relay.json");
    if (config.root() == nullptr) return;
    each_at(*config.root(), "/routes", [&](element route, const std::string&) {
      const std::string token = text_at(route, "/tokenFile");
      const bool gateways = std::ranges::any_of(
          tokens, [&](const std::string& directory) { return token.starts_with(directory); });
      if (!gateways) return;
      if (text_at(route, "/path") == "/git") return give_git(objects, out);
      give_models(objects,
                  {"the models behind " + without_user(text_at(route, "/url")),
                   "as the gateway's configuration names them", config.from()},
                  out);
    });
  });
  if (out.capabilities.empty()) return std::nullopt;
  return out;
}

}  // namespace palisade::policy
