#include "ui/handler.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "ui_assets.h"

namespace palisade::cli::ui {

namespace {

using kube::HttpResponse;

constexpr std::size_t kTokenBytes = 24;
constexpr std::string_view kApi = "api/";

const kube::HttpHeaders& headers() {
  static const kube::HttpHeaders kHeaders{
      {"Content-Security-Policy",
       "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
       "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for "
       "'script'; trusted-types 'none'"},
      {"X-Content-Type-Options", "nosniff"},
      {"X-Frame-Options", "DENY"},
      {"Referrer-Policy", "no-referrer"},
      {"Cross-Origin-Opener-Policy", "same-origin"},
      {"Cross-Origin-Resource-Policy", "same-origin"},
      {"Cache-Control", "no-store"}};
  return kHeaders;
}

HttpResponse reply(int status, std::string type, std::string body) {
  HttpResponse out{status, std::move(type), std::move(body)};
  out.headers = &headers();
  return out;
}

HttpResponse text(int status, std::string body) {
  return reply(status, "text/plain; charset=utf-8", std::move(body) + "\n");
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string decoded(std::string_view encoded) {
  std::string out;
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    if (encoded[i] != '%') {
      out += encoded[i];
      continue;
    }
    if (i + 2 >= encoded.size()) return {};
    const int high = digit(encoded[i + 1]);
    const int low = digit(encoded[i + 2]);
    if (high < 0 || low < 0) return {};
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

// What Kubernetes has as names of namespaces and workspaces, and nothing that could mean another
// place in a path.
bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= 253 &&
         std::ranges::all_of(name,
                             [](char c) {
                               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                                      c == '-' || c == '.';
                             }) &&
         name.front() != '.' && name.front() != '-';
}

bool same(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

std::string new_token() {
  std::array<unsigned char, kTokenBytes> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1)
    throw std::runtime_error("the system has no random numbers to give");
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : bytes) {
    out += kDigits[byte >> 4U];
    out += kDigits[byte & 15U];
  }
  return out;
}

std::string query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view member = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), member.size() + 1));
    if (member.size() > name.size() && member.starts_with(name) && member[name.size()] == '=')
      return decoded(member.substr(name.size() + 1));
  }
  return {};
}

Handler::Handler(Sources sources, std::string token, std::uint16_t port)
    : sources_(std::move(sources)),
      token_(std::move(token)),
      hosts_{"127.0.0.1:" + std::to_string(port), "localhost:" + std::to_string(port)} {}

HttpResponse Handler::page(std::string_view path) const {
  if (path.empty()) return reply(200, "text/html; charset=utf-8", kPage);
  if (path == "app.js") return reply(200, "text/javascript; charset=utf-8", kScript);
  if (path == "style.css") return reply(200, "text/css; charset=utf-8", kStyle);
  return text(404, "there is no such page");
}

Answer Handler::data(std::string_view path, std::string_view query) const {
  if (path == "workspaces") return sources_.workspaces();
  if (path == "findings") return sources_.findings();
  return sources_.session(query_value(query, "namespace"), query_value(query, "name"));
}

HttpResponse Handler::answer(const kube::HttpRequest& request) const {
  if (request.host != hosts_[0] && request.host != hosts_[1])
    return text(421, "ask for 127.0.0.1 or localhost, as `palisade ui` says");
  std::string_view target = request.target;
  const std::string_view path = target.substr(0, target.find('?'));
  const std::string_view query =
      path.size() < target.size() ? target.substr(path.size() + 1) : std::string_view();
  // "/TOKEN/rest"
  const auto end = path.find('/', 1);
  if (!path.starts_with('/') || end == std::string_view::npos ||
      !same(path.substr(1, end - 1), token_))
    return text(404, "open the address that `palisade ui` has printed");
  if (request.method != "GET" && request.method != "HEAD") return text(405, "this page only reads");
  const std::string_view rest = path.substr(end + 1);
  if (!rest.starts_with(kApi)) return page(rest);
  const std::string_view what = rest.substr(kApi.size());
  if (what != "workspaces" && what != "findings" && what != "session")
    return text(404, "there is no such page");
  if (what == "session" &&
      !(is_name(query_value(query, "namespace")) && is_name(query_value(query, "name"))))
    return text(400, "session: name a namespace and a workspace");
  if (request.may_wait == false) return HttpResponse::must_wait();
  const Answer found = data(what, query);
  const nlohmann::json out = found ? *found : nlohmann::json{{"error", found.error()}};
  // In ASCII: nothing in it depends on how its bytes are read.
  return reply(found ? 200 : 502, "application/json",
               out.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
}

}  // namespace palisade::cli::ui
