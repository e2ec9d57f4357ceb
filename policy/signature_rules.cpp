#include "signature_rules.h"

#include <algorithm>
#include <utility>

#include <policy/signatures.h>

#include "object_reader.h"

namespace palisade::policy {

using simdjson::dom::element;

namespace {

constexpr std::size_t kMaxRules = 16;
constexpr std::size_t kMaxKeys = 16;
constexpr std::size_t kMaxRepositories = 64;
constexpr std::size_t kMaxPem = 4096;

// The form alone: which keys are good for signatures, OpenSSL says (webhook/signatures).
std::string read_pem(element value, std::string& target) {
  constexpr std::string_view kBegin = "-----BEGIN PUBLIC KEY-----";
  constexpr std::string_view kEnd = "-----END PUBLIC KEY-----";
  constexpr const char* kWanted =
      "one public key in PEM (-----BEGIN PUBLIC KEY-----), such as cosign.pub that cosign "
      "generate-key-pair writes";
  if (!read_text(value, target).empty() || target.size() > kMaxPem) return kWanted;
  std::string_view text = target;
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && space(text.front()))
    text.remove_prefix(1);
  while (!text.empty() && space(text.back()))
    text.remove_suffix(1);
  if (text.find("PRIVATE KEY") != std::string_view::npos)
    return "the public key; what stands here is a private one: take it out of the policy, and use "
           "it no more";
  if (!text.starts_with(kBegin) || !text.ends_with(kEnd) || text.find(kEnd) < kBegin.size() ||
      text.find(kEnd) != text.size() - kEnd.size() || text.rfind(kBegin) != 0)
    return kWanted;
  return {};
}

// A list of 1 to `most` items, each read by `read(item, path)`.
template <class Read>
std::string read_items(element value, const std::string& at, std::size_t most, Read read) {
  simdjson::dom::array list;
  if (value.get(list) != simdjson::SUCCESS || list.size() == 0 || list.size() > most)
    return at + " must be a list of 1 to " + std::to_string(most);
  std::size_t index = 0;
  for (const element item : list) {
    if (std::string wrong = read(item, at + "[" + std::to_string(index++) + "]"); !wrong.empty())
      return wrong;
  }
  return {};
}

std::string read_key(element value, const std::string& at, SigningKey& out) {
  const auto read = read_members(value, at,
                                 {{"name", [&](element v) { return read_text(v, out.name); }},
                                  {"publicKey", [&](element v) { return read_pem(v, out.pem); }}});
  if (!read) return read.error();
  if (out.name.empty()) return at + ".name must be a text that is not empty";
  return out.pem.empty() ? at + ".publicKey is missing" : std::string();
}

std::string read_rule(element value, const std::string& at, SignatureRule& out) {
  const auto read = read_members(
      value, at,
      {{"repositories",
        [&](element v) {
          return read_items(v, at + ".repositories", kMaxRepositories,
                            [&](element item, const std::string& path) {
                              std::string& text = out.repositories.emplace_back();
                              if (!read_text(item, text).empty())
                                return path + " must be a text that is not empty";
                              const std::string wanted = repository_problem(text);
                              return wanted.empty() ? wanted : path + " must be " + wanted;
                            });
        }},
       {"keys", [&](element v) {
          return read_items(v, at + ".keys", kMaxKeys, [&](element item, const std::string& path) {
            return read_key(item, path, out.keys.emplace_back());
          });
        }}});
  if (!read) return read.error();
  if (out.repositories.empty()) return at + ".repositories is missing";
  return out.keys.empty() ? at + ".keys is missing" : std::string();
}

}  // namespace

std::string read_signature_rules(element value, std::string_view at,
                                 std::vector<SignatureRule>& out) {
  out.clear();
  return read_items(value, std::string(at), kMaxRules, [&](element item, const std::string& path) {
    return read_rule(item, path, out.emplace_back());
  });
}

}  // namespace palisade::policy
