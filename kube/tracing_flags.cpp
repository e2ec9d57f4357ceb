#include <algorithm>
#include <expected>
#include <stdexcept>

#include <fmt/format.h>

#include <kube/files.h>
#include <kube/tracing.h>

#include "rotated.h"

namespace kube {

namespace {

bool is_token(std::string_view text) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kOthers.find(c) != std::string_view::npos;
  });
}

// Errors name the line and never its text, which is a secret.
std::expected<Headers, std::string> parse_headers(std::string_view text) {
  Headers out;
  for (int line = 1; !text.empty(); ++line) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string one = trimmed(std::string(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (one.empty()) continue;
    const auto colon = std::min(one.find(':'), one.size());
    const std::string name = one.substr(0, colon);
    const std::string value = colon == one.size() ? "" : trimmed(one.substr(colon + 1));
    if (!is_token(name) || value.empty() || value.find('\0') != std::string::npos)
      return std::unexpected(fmt::format("line {}: must be NAME: VALUE", line));
    out.emplace_back(name, value);
  }
  return out;
}

}  // namespace

std::shared_ptr<Tracer> make_tracer(const TracingFlags& flags, const std::string& service,
                                    const std::string& instance) {
  if (flags.endpoint.empty()) return nullptr;
  TracingOptions options;
  options.endpoint = flags.endpoint;
  options.ratio = flags.ratio;
  options.service = service;
  options.resource = {{"service.instance.id", instance}};
  if (!flags.ca_file.empty()) {
    auto ca = read_file(flags.ca_file);
    if (!ca) throw std::runtime_error("--otlp-ca-file: " + ca.error());
    options.ca = std::move(*ca);
  }
  if (!flags.headers_file.empty()) {
    auto headers = parse_file(flags.headers_file, parse_headers);
    if (!headers) throw std::runtime_error("--otlp-headers-file: " + headers.error());
    options.headers = std::move(*headers);
  }
  try {
    return std::make_shared<Tracer>(std::move(options));
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(std::string("--otlp-endpoint, --trace-ratio: ") + error.what());
  }
}

}  // namespace kube
