// What every conformance test stands on: one scripted server, and the transport under test.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/transport.h>

#include "kube/scripted_server.h"
#include "kube/test_pki.h"

namespace conformance {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using kube::Request;
using kube::Response;
using kube::Transport;
using kube::TransportOptions;
using scripted::Peer;
using scripted::Server;

enum class Kind { kCpprest, kBeast };

inline void PrintTo(Kind kind, std::ostream* out) {
  *out << (kind == Kind::kCpprest ? "cpprest" : "beast");
}

inline std::string kind_name(const testing::TestParamInfo<Kind>& info) {
  return info.param == Kind::kCpprest ? "Cpprest" : "Beast";
}

inline const test_pki::Pair& authority() {
  static const test_pki::Pair kAuthority = test_pki::make_ca();
  return kAuthority;
}

// What a well-configured server shows.
inline scripted::Options tls() {
  static const test_pki::Pair kServer = test_pki::issue(
      authority(),
      {"server", {"localhost"}, {"127.0.0.1", "::1"}, test_pki::Purpose::kServer, 24h, ""});
  scripted::Options options;
  options.identity = kServer;
  return options;
}

// A deadline that ends only what hangs.
inline constexpr auto kPatience = 20s;

class Conformance : public testing::TestWithParam<Kind> {
 protected:
  using Script = std::function<void(Server&, Peer&, int)>;

  // Starts the server of this test. It may outlive the caller's variables: `script` takes copies,
  // or touches them only before the client has got what it waits for.
  Server& serve(Script script, scripted::Options options = tls()) {
    const auto self = std::make_shared<std::atomic<Server*>>(nullptr);
    server_ = std::make_unique<Server>(std::move(options),
                                       [self, script = std::move(script)](Peer& peer, int number) {
                                         script(*self->load(), peer, number);
                                       });
    *self = server_.get();
    return *server_;
  }

  // Each request is answered with these bytes; its own text becomes a note.
  Server& serve_bytes(std::string bytes, scripted::Options options = tls()) {
    return serve(
        [bytes = std::move(bytes)](Server& server, Peer& peer, int) {
          for (std::string request; !(request = peer.read_request()).empty();) {
            server.note(request);
            if (!peer.write(bytes)) return;
          }
        },
        std::move(options));
  }

  [[nodiscard]] TransportOptions options() const {
    TransportOptions out;
    out.base_url = server_->url();
    out.tls_material = [] { return kube::TlsMaterial{authority().certificate, "", ""}; };
    return out;
  }
  [[nodiscard]] static std::unique_ptr<Transport> make(const TransportOptions& options) {
    return GetParam() == Kind::kCpprest ? kube::make_cpprest_transport(options)
                                        : kube::make_beast_transport(options);
  }
  [[nodiscard]] std::unique_ptr<Transport> make() const { return make(options()); }

  [[nodiscard]] static Request request(std::string method = "GET", std::string target = "/",
                                       std::string body = "") {
    Request out;
    out.method = std::move(method);
    out.target = std::move(target);
    out.body = std::move(body);
    out.deadline = kPatience;
    return out;
  }
  // One GET on a fresh transport.
  [[nodiscard]] kube::Result<Response> get() const { return make()->send(request(), {}); }

  std::unique_ptr<Server> server_;
};

// "200: body" or "Reason: message".
inline std::string shown(const kube::Result<Response>& result) {
  if (!result) return result.error().text();
  return std::to_string(result->status) + ": " + result->body.substr(0, 200);
}

// A transport failure of exactly this reason.
inline testing::AssertionResult failed_as(const kube::Result<Response>& result,
                                          const char* reason) {
  if (result) return testing::AssertionFailure() << "succeeded with " << shown(result);
  if (result.error().code != 0 || result.error().reason != reason)
    return testing::AssertionFailure() << shown(result) << " is not " << reason;
  return testing::AssertionSuccess();
}

inline std::string ok(std::string_view body) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

inline std::string chunk(std::string_view data) {
  char size[20] = {};
  const auto [end, ec] = std::to_chars(std::begin(size), std::end(size), data.size(), 16);
  return std::string(size, end) + "\r\n" + std::string(data) + "\r\n";
}

inline constexpr const char* kChunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

}  // namespace conformance
