// NetworkPolicies out of a few words.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <policy/network.h>

namespace palisade::policy::testing {

using Policies = std::vector<std::shared_ptr<const NetworkPolicy>>;

inline NetworkPolicy parsed(const std::string& text) {
  simdjson::dom::parser parser;
  const simdjson::padded_string padded(text);
  auto out = NetworkPolicy::parse(parser.parse(padded));
  if (!out) throw std::runtime_error(out.error());
  return *std::move(out);
}

inline NetworkPolicy policy(const std::string& spec, const std::string& name = "p",
                            const std::string& owner = "") {
  const std::string owners =
      owner.empty() ? ""
                    : R"(, "ownerReferences": [{"apiVersion": "v1", "kind": "X", "uid": "0"},
                         {"apiVersion": "palisade.dev/v1alpha1", "kind": "AgentWorkspace",
                          "name": "fix", "uid": ")" +
                          owner + R"("}])";
  return parsed(R"({"metadata": {"namespace": "team-a", "name": ")" + name + "\"" + owners +
                R"(}, "spec": )" + spec + "}");
}

inline std::vector<std::string> wide_fields(const NetworkPolicy& p) {
  std::vector<std::string> out;
  for (const Opening& opening : p.openings()) {
    EXPECT_FALSE(opening.message.empty());
    if (opening.wide) out.push_back(opening.field);
  }
  return out;
}

// One egress rule, with a good port.
inline NetworkPolicy to(const std::string& peers) {
  return policy(R"({"podSelector": {}, "egress": [{"ports": [{"port": 443}], "to": )" + peers +
                "}]}");
}
inline NetworkPolicy to_block(const std::string& block) {
  return to(R"([{"ipBlock": )" + block + "}]");
}
// One egress rule, with a good peer.
inline NetworkPolicy ports(const std::string& list) {
  return policy(R"({"podSelector": {}, "egress": [{"to": [{"podSelector": {"matchLabels":
                 {"app": "llm"}}}], "ports": )" +
                list + "}]}");
}

inline const Labels kPod{{"app", "aider"}, {"palisade.dev/agent", "aider"}};
inline const Labels kOther{{"app", "web"}};

}  // namespace palisade::policy::testing
