// The minimal good pod, and what the policy says of it with one thing broken.
#pragma once

#include <cstdlib>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <policy/policy.h>

namespace palisade::policy::testing {

using nlohmann::json;

// What `parse` makes of a JSON text; nothing of the answer may refer to the document.
template <class Parse>
auto parsed(const std::string& text, Parse parse) {
  simdjson::dom::parser parser;
  const simdjson::padded_string padded(text);
  return parse(parser.parse(padded));
}

inline json good_pod() {
  const char* root = std::getenv("PALISADE_SOURCE_DIR");
  const std::string path =
      std::string(root != nullptr ? root : ".") + "/tests/fixtures/good_pod.json";
  std::ifstream in(path);
  if (!in) throw std::runtime_error("cannot read " + path + " (set PALISADE_SOURCE_DIR)");
  return json::parse(in);
}

// The good pod with a good ephemeral container beside the others.
inline json good_pod_with_ephemeral() {
  json pod = good_pod();
  pod["spec"]["ephemeralContainers"] =
      json::array({{{"name", "debug"},
                    {"image", "registry.example.com/tools:1"},
                    {"command", {"sh"}},
                    {"securityContext", pod["spec"]["containers"][0]["securityContext"]}}});
  return pod;
}

// A finding that owns its control's id: what the test keeps after the table is gone.
inline std::vector<Finding> findings_of(const std::string& text, const Settings& settings = {},
                                        std::string_view prefix = "") {
  simdjson::dom::parser parser;
  const simdjson::padded_string padded(text);
  return evaluate(parser.parse(padded), settings, prefix);
}

inline std::vector<Finding> findings_of(const json& pod, const Settings& settings = {},
                                        std::string_view prefix = "") {
  return findings_of(pod.dump(), settings, prefix);
}

inline std::set<std::string> controls_of(const std::vector<Finding>& findings) {
  std::set<std::string> out;
  for (const Finding& finding : findings)
    out.emplace(finding.control);
  return out;
}

inline std::vector<std::string> fields_of(const std::vector<Finding>& findings) {
  std::vector<std::string> out;
  for (const Finding& finding : findings)
    out.push_back(finding.field);
  return out;
}

// One change: `pointer` (JSON pointer) gets the value that `text` is the JSON of, or is taken away
// where it is kGone.
inline constexpr std::string_view kGone;
struct Change {
  std::string pointer;
  std::string text;
};

inline void apply(json& document, const Change& change, const std::string& below = "") {
  const json::json_pointer pointer(below + change.pointer);
  if (change.text != kGone) {
    document[pointer] = json::parse(change.text);
  } else {
    document[pointer.parent_pointer()].erase(pointer.back());
  }
}

inline std::string tell(const std::vector<Finding>& findings) {
  std::string out;
  for (const Finding& finding : findings) {
    out += std::string(finding.control) + " | " + finding.field + " | " + finding.found + " | " +
           finding.message + "\n";
  }
  return out.empty() ? "(nothing)" : out;
}

}  // namespace palisade::policy::testing
