// An OpenID Connect provider on loopback, as far as a refresh needs one: its discovery document and
// a token endpoint. What it gives is the test's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "kube/connect_proxy.h"
#include "kube/test_pki.h"

namespace scripted {

struct ProviderAnswer {
  std::string body;
  std::string status = "200 OK";
};

class IdentityProvider {
 public:
  using Form = std::map<std::string, std::string>;
  using Answers = std::function<ProviderAnswer(const std::string& request, const Form& form)>;

  // `token` answers what is posted to the token endpoint, on the provider's threads, one at a time.
  IdentityProvider(const test_pki::Pair& authority, Answers token) : token_(std::move(token)) {
    Options options;
    options.identity = test_pki::issue(
        authority,
        {"issuer", {}, {"127.0.0.1"}, test_pki::Purpose::kServer, std::chrono::hours(24), ""});
    server_ = noting(options, [this](Server& server, Peer& peer) {
      for (std::string got; !(got = peer.read_request()).empty();) {
        const ProviderAnswer answer = answer_of(got);
        if (got.starts_with("POST")) server.note(got);
        if (!peer.respond(answer.body, answer.status)) return;
      }
    });
  }

  [[nodiscard]] std::string issuer() const { return server_->url() + "/realm"; }
  // What was posted so far.
  [[nodiscard]] std::vector<std::string> asked() { return server_->notes(); }
  void discovery(std::function<ProviderAnswer()> answer) {
    const std::scoped_lock lock(mutex_);
    discovery_ = std::move(answer);
  }
  void token(Answers answer) {
    const std::scoped_lock lock(mutex_);
    token_ = std::move(answer);
  }
  // What else can be asked for, by its path below the issuer.
  void page(const std::string& path, const std::string& body) {
    const std::scoped_lock lock(mutex_);
    pages_[path] = body;
  }
  // The document that a provider has.
  [[nodiscard]] nlohmann::json metadata() const {
    return {{"issuer", issuer()},
            {"token_endpoint", issuer() + "/token?policy=p"},
            {"jwks_uri", issuer() + "/keys"},
            {"response_types_supported", {"id_token"}},
            {"subject_types_supported", {"public"}},
            {"id_token_signing_alg_values_supported", {"RS256"}}};
  }

 private:
  static std::string decoded(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '%') {
        out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
        i += 2;
      } else {
        out += text[i] == '+' ? ' ' : text[i];
      }
    }
    return out;
  }
  ProviderAnswer answer_of(const std::string& request) {
    const std::scoped_lock lock(mutex_);
    if (request.starts_with("GET /realm/.well-known/openid-configuration "))
      return discovery_ ? discovery_() : ProviderAnswer{metadata().dump()};
    if (request.starts_with("POST /realm/token?policy=p ")) {
      Form form;
      std::string rest = request.substr(request.find("\r\n\r\n") + 4) + "&";
      for (std::size_t end = 0; (end = rest.find('&')) != std::string::npos;
           rest.erase(0, end + 1)) {
        const auto equals = rest.find('=');
        form[rest.substr(0, equals)] = decoded(rest.substr(equals + 1, end - equals - 1));
      }
      return token_(request, form);
    }
    for (const auto& [path, body] : pages_) {
      if (request.starts_with("GET /realm" + path + " ")) return {body};
    }
    return {"", "404 Not Found"};
  }

  std::mutex mutex_;
  std::function<ProviderAnswer()> discovery_;
  Answers token_;
  std::map<std::string, std::string> pages_;
  std::unique_ptr<Server> server_;  // last: its threads use the rest
};

}  // namespace scripted
