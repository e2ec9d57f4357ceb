// The requests of `palisade ui`: who may ask, and what is answered. Knows no cluster: what it shows
// comes from `Sources`.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <kube/http_server.h>

namespace palisade::cli::ui {

using Answer = std::expected<nlohmann::json, std::string>;  // or a sentence for people

// All only read. Called on threads where waiting holds nobody up, several at once.
struct Sources {
  std::function<Answer()> workspaces;
  std::function<Answer(const std::string& ns, const std::string& name)> session;
  std::function<Answer()> findings;
};

// 48 hexadecimal digits from the kernel's generator.
[[nodiscard]] std::string new_token();

// A member of a query string, percent-decoded; "" where it is not there or not well formed.
[[nodiscard]] std::string query_value(std::string_view query, std::string_view name);

// Answers only who asks for 127.0.0.1:`port` or localhost:`port` (so that no foreign name that
// leads here is a way in) and below /`token`/ (so that nobody else of this machine is), by GET or
// HEAD alone. Every answer forbids all but the page's own two files. Thread-safe.
class Handler {
 public:
  Handler(Sources sources, std::string token, std::uint16_t port);

  [[nodiscard]] kube::HttpResponse answer(const kube::HttpRequest& request) const;

 private:
  [[nodiscard]] kube::HttpResponse page(std::string_view path) const;
  [[nodiscard]] Answer data(std::string_view path, std::string_view query) const;

  const Sources sources_;
  const std::string token_;
  const std::string hosts_[2];
};

}  // namespace palisade::cli::ui
