// A server of kube/http_server.h on loopback, plain or with TLS, and what its tests say to it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/envtest_pki.h>
#include <kube/http_server.h>

#include "kube/raw_client.h"

namespace http_testing {

using namespace std::chrono_literals;
using kube::HttpRequest;
using kube::HttpResponse;
using kube::HttpServer;
using kube::HttpServerOptions;
using kube::ServingCertificate;
using testing::HasSubstr;
using testing::Not;
using Clock = std::chrono::steady_clock;

inline ServingCertificate certificate(const std::string& name) {
  const auto authority = kube::envtest::Authority::make("test-ca");
  const auto pair = authority->issue({name, "", {name}, {"127.0.0.1"}});
  return {pair->certificate, pair->key};
}

// Echoes what it understood: method, target, content type and size of the body.
inline HttpResponse echo(const HttpRequest& request) {
  HttpResponse out;
  out.body = std::string(request.method) + " " + std::string(request.target) + " " +
             std::string(request.content_type) + " " + std::to_string(request.body.size());
  return out;
}

inline std::string get(const std::string& target) {
  return "GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n";
}

inline std::string post(std::size_t size) {
  return "POST /p HTTP/1.1\r\nHost: x\r\nContent-Type: text/x\r\nContent-Length: " +
         std::to_string(size) + "\r\n\r\n" + std::string(size, 'b');
}

// True as soon as `what` holds; false after ten seconds.
inline bool eventually(const std::function<bool()>& what) {
  for (const auto deadline = Clock::now() + 10s; Clock::now() < deadline;
       std::this_thread::sleep_for(5ms)) {
    if (what()) return true;
  }
  return what();
}

// Runs with TLS (true) and without.
class HttpServerTest : public testing::TestWithParam<bool> {
 protected:
  HttpServer& start(HttpServerOptions options = {}, kube::HttpHandler handler = echo) {
    options.address = "127.0.0.1";
    if (GetParam() && !options.tls) options.tls = certificate("first");
    server_ = std::make_unique<HttpServer>(options, std::move(handler));
    const auto started = server_->start();
    EXPECT_TRUE(started) << started.error().text();
    return *server_;
  }
  [[nodiscard]] std::unique_ptr<raw::Client> connect() const {
    return std::make_unique<raw::Client>(server_->port(), GetParam());
  }
  // What a fresh connection answers to these bytes; the status, 0 where none came.
  [[nodiscard]] int status_of(std::string_view bytes) const {
    const auto client = connect();
    client->write(bytes);
    const auto reply = client->reply();
    return reply ? reply->status : 0;
  }

  std::unique_ptr<HttpServer> server_;
};

}  // namespace http_testing
