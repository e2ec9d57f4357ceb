#include <algorithm>
#include <string>
#include <utility>

#include <policy/signatures.h>

#include "pod_view.h"
#include "report.h"

namespace palisade::policy {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_name(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z');
}

// HOST or HOST:PORT that nobody can take for the first part of a path.
bool is_registry(std::string_view text) {
  const auto colon = text.find(':');
  const std::string_view host = text.substr(0, colon);
  if (host.empty() || host.size() > 253 || !is_name(host.front()) || !is_name(host.back()))
    return false;
  if (!std::ranges::all_of(host, [](char c) { return is_name(c) || c == '.' || c == '-'; }))
    return false;
  if (colon == std::string_view::npos)
    return host == "localhost" || host.find('.') != std::string_view::npos;
  const std::string_view port = text.substr(colon + 1);
  return !port.empty() && port.size() <= 5 && std::ranges::all_of(port, is_digit);
}

// Parts of a path as the OCI distribution specification has them, or stricter: none is empty, none
// climbs out.
bool is_path(std::string_view path) {
  if (path.empty() || path.size() > 255) return false;
  while (true) {
    const auto slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || !is_name(part.front()) || !is_name(part.back())) return false;
    if (!std::ranges::all_of(part,
                             [](char c) { return is_name(c) || c == '.' || c == '-' || c == '_'; }))
      return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

bool within(std::string_view image, std::string_view beginning) {
  return image == beginning || (image.starts_with(beginning) && image[beginning.size()] == '/');
}

std::string joined(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts)
    out += (out.empty() ? "" : ", ") + text;
  return out;
}

// Adds the rules of one AgentPolicy that name the image; says what is wrong where none does.
std::string demand(const SignaturePolicy& policy, ImageToVerify& out) {
  const std::string whole = out.name.registry + "/" + out.name.repository;
  bool named = false;
  for (const SignatureRule& rule : policy.rules) {
    if (std::ranges::none_of(rule.repositories,
                             [&](const std::string& one) { return within(whole, one); }))
      continue;
    named = true;
    out.rules.push_back(&rule);
  }
  if (named) return {};
  std::vector<std::string> repositories;
  for (const SignatureRule& rule : policy.rules)
    repositories.insert(repositories.end(), rule.repositories.begin(), rule.repositories.end());
  return "is in no repository for which requireSignatures of AgentPolicy " + policy.name +
         " has keys (" + shown(joined(repositories), 500) +
         "): take the image from one of them, or have an administrator add its repository and its "
         "keys there";
}

void need(Report& report, const Settings& settings, const Node& image, SignatureNeeds& out) {
  const auto text = image.text();
  if (text.broken()) {
    report.wrong_type(image, "the name of an image");
    return;
  }
  auto name = text.present() ? parse_image(text.value) : std::nullopt;
  if (!name) {
    report(image,
           "must be the whole name of an image, REGISTRY/REPOSITORY@sha256:DIGEST in lower case: "
           "its signature is looked for at that registry");
    return;
  }
  ImageToVerify found{image.path(), std::string(text.value), std::move(*name), {}};
  for (const SignaturePolicy& policy : settings.signatures) {
    if (std::string problem = demand(policy, found); !problem.empty())
      report(image, std::move(problem));
  }
  if (found.name.digest.empty()) {
    report(image,
           "must be named by digest (@sha256:...): a signature is of one digest, and a tag can be "
           "moved to another image");
    return;
  }
  if (!found.rules.empty()) out.images.push_back(std::move(found));
}

}  // namespace

bool is_sha256_digest(std::string_view digest) {
  constexpr std::string_view kAlgorithm = "sha256:";
  if (!digest.starts_with(kAlgorithm) || digest.size() != kAlgorithm.size() + 64) return false;
  digest.remove_prefix(kAlgorithm.size());
  return std::ranges::all_of(digest, [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); });
}

std::optional<ImageName> parse_image(std::string_view name) {
  const auto at = name.find('@');
  const std::string_view digest =
      at == std::string_view::npos ? std::string_view() : name.substr(at + 1);
  std::string_view rest = name.substr(0, at);
  const auto slash = rest.find('/');
  if (slash == std::string_view::npos || !is_registry(rest.substr(0, slash))) return std::nullopt;
  ImageName out;
  out.registry = rest.substr(0, slash);
  rest.remove_prefix(slash + 1);
  rest = rest.substr(0, rest.find(':'));  // what a tag says is of no matter beside a digest
  if (!is_path(rest)) return std::nullopt;
  out.repository = rest;
  if (is_sha256_digest(digest)) out.digest = digest;
  return out;
}

std::string repository_problem(std::string_view beginning) {
  const auto slash = beginning.find('/');
  if (is_registry(beginning.substr(0, slash)) &&
      (slash == std::string_view::npos || is_path(beginning.substr(slash + 1))))
    return {};
  return "a registry, as registry.example.com or registry.example.com:5000, with or without the "
         "beginning of a path, in lower case and without a tag";
}

SignatureNeeds signature_needs(simdjson::dom::element pod, const Settings& settings,
                               std::string_view prefix) {
  SignatureNeeds out;
  if (settings.signatures.empty()) return out;
  const PodView view(pod, prefix);
  Report report{kImageSignature, out.findings};
  for (const Container& container : view.containers())
    need(report, settings, container.image, out);
  each_item(report, view.volumes(), [&](const Node& volume) {
    const Node source = volume["image"];
    if (source.absent()) return;
    const Node reference = source["reference"];
    need(report, settings, reference, out);
  });
  return out;
}

}  // namespace palisade::policy
