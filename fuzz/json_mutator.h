// A libFuzzer mutator that keeps JSON JSON most of the time: it swaps, drops, doubles and replaces
// whole values, so that runs reach what lies behind the parser. A third of the runs mutate bytes.
// Include it in one source of a target whose input is a JSON document.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "fuzz/check.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max);

namespace palisade::fuzz {

using nlohmann::json;

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  void mutate(json& document) {
    for (std::size_t rounds = 1 + below(3); rounds > 0; --rounds)
      change(document);
  }

  // Gives a member of an object a second time, which no tree of values can hold.
  std::string with_a_member_twice(const std::string& text) {
    std::vector<std::size_t> starts;
    for (std::size_t at = text.find("{\""); at != std::string::npos; at = text.find("{\"", at + 1))
      starts.push_back(at);
    if (starts.empty()) return text;
    const std::size_t at = starts[below(starts.size())];
    const std::size_t end = text.find("\":", at);
    if (end == std::string::npos) return text;
    std::string out = text;
    out.insert(at + 1, text.substr(at + 1, end - at + 1) + strange().dump() + ",");
    return out;
  }

  std::size_t below(std::size_t limit) { return random_() % limit; }

 private:
  static void collect(json& node, std::vector<json*>& out) {
    out.push_back(&node);
    if (node.is_structured()) {
      for (json& child : node)
        collect(child, out);
    }
  }

  json strange() {
    static const std::vector<json> kStrange{
        nullptr,
        true,
        false,
        0,
        1,
        -1,
        1001,
        65534,
        1.5,
        1e300,
        -9223372036854775807LL,
        18446744073709551615ULL,
        "",
        "aider",
        "/usr/bin/aider",
        "AIDER_MODEL",
        "sh",
        "-c",
        "YWlkZXI=",
        "ALL",
        "Unconfined",
        "RuntimeDefault",
        "palisade.dev/agent",
        "0",
        "1e3Gi",
        "99999999999999999999",
        std::string(300, 'x'),
        std::string(252, 'k') + "\xC3\xA9",
        "\xE2\x80\xAE\x1B[2J\u0007",
        "\xF0\x9F\xA6\x8A",
        "CREATE",
        "UPDATE",
        "DELETE",
        "CONNECT",
        "pods",
        "ephemeralcontainers",
        "binding",
        "exec",
        "0.0.0.0/0",
        "::/0",
        json::array(),
        json::object(),
        json::array({nullptr}),
        json::object({{"", ""}}),
        json::object({{"exec", {{"command", {"aider"}}}}}),
    };
    return kStrange[below(kStrange.size())];
  }

  json deep() {
    json out = 1;
    for (std::size_t left = below(200); left > 0; --left)
      out = below(2) == 0 ? json::array({out}) : json::object({{"a", out}});
    return out;
  }

  void change(json& document) {
    std::vector<json*> nodes;
    collect(document, nodes);
    json& node = *nodes[below(nodes.size())];
    switch (below(8)) {
      case 0:
        node = strange();
        break;
      case 1: {  // another value of this document; a copy, as one may hold the other
        const json copy = *nodes[below(nodes.size())];
        node = copy;
        break;
      }
      case 2:
        if (node.is_structured() && !node.empty()) {
          auto child = node.begin();
          std::advance(child, static_cast<long>(below(node.size())));
          node.erase(child);
        } else {
          node = nullptr;
        }
        break;
      case 3:
        if (node.is_array()) {
          node.push_back(node.empty() ? strange() : json(node[below(node.size())]));
        } else if (node.is_object()) {
          const json name = strange();
          node[name.is_string() ? name.get<std::string>() : "extra"] = strange();
        } else {
          node = json::array({node});
        }
        break;
      case 4:
        if (node.is_string()) {
          auto text = node.get<std::string>();
          if (!text.empty()) {
            const std::size_t at = below(text.size());
            const char c = text[at];
            if (static_cast<unsigned char>(c) < 0x80) text[at] = static_cast<char>(c ^ 0x20);
            if (static_cast<unsigned char>(text[at]) < 0x20) text[at] = c;
          }
          node = text;
        } else {
          node = strange();
        }
        break;
      case 5:
        if (node.is_object() && !node.empty()) {  // one member under another's name
          auto from = node.begin();
          std::advance(from, static_cast<long>(below(node.size())));
          const json value = from.value();
          std::string name = from.key();
          std::ranges::transform(name, name.begin(), [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
          });
          node[name] = value;
        } else {
          node = strange();
        }
        break;
      case 6:
        if (below(8) == 0) {
          node = deep();
        } else if (node.is_array() && !node.empty()) {
          const json first = node[0];
          for (std::size_t left = below(40); left > 0; --left)
            node.push_back(first);
        }
        break;
      default:
        if (node.is_string()) {
          auto text = node.get<std::string>();
          const json other = strange();
          node = other.is_string() ? text + " " + other.get<std::string>() : text + text;
        }
    }
  }

  std::minstd_rand random_;
};

}  // namespace palisade::fuzz

// NOLINTNEXTLINE(misc-definitions-in-headers): one source of a target includes this.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max, unsigned seed) {
  using palisade::fuzz::json;
  palisade::fuzz::Mutator mutator(seed);
  if (mutator.below(3) == 0) return LLVMFuzzerMutate(data, size, max);
  json document = json::parse(data, data + size, nullptr, false);
  if (document.is_discarded()) return LLVMFuzzerMutate(data, size, max);
  mutator.mutate(document);
  std::string text = document.dump(-1, ' ', false, json::error_handler_t::replace);
  if (mutator.below(10) == 0) text = mutator.with_a_member_twice(text);
  if (text.empty() || text.size() > max) return LLVMFuzzerMutate(data, size, max);
  std::memcpy(data, text.data(), text.size());
  return text.size();
}
