// The reviewer behind the real TLS server: whatever a peer sends, the next good review is answered.
#include <atomic>
#include <map>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <policy/guards.h>
#include <webhook/certificates.h>
#include <webhook/server.h>

#include "kube/raw_client.h"
#include "webhook/reviews.h"

namespace palisade::webhook::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr std::size_t kTenMegabytes = 10 << 20;

std::string head(const std::string& method, const std::string& target, const std::string& type,
                 std::size_t length) {
  return method + " " + target + " HTTP/1.1\r\nHost: palisade-webhook\r\n" +
         (type.empty() ? "" : "Content-Type: " + type + "\r\n") +
         "Content-Length: " + std::to_string(length) + "\r\n\r\n";
}

std::string post(const std::string& body, const std::string& type = "application/json",
                 const std::string& target = "/validate?timeout=5s") {
  return head("POST", target, type, body.size()) + body;
}

std::string good_review() {
  return post(envelope(good_pod()).dump());
}

std::string weak_review() {
  return post(envelope(changed(good_pod(), weakened_pods()[0].change)).dump());
}

class Server : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::err);  // every denial is logged
    serve({});
  }

  void serve(kube::HttpServerOptions options) {
    const auto bundle = make_bundle({"127.0.0.1"}, WallClock::now(), 24h);
    ASSERT_TRUE(bundle) << bundle.error();
    options.address = "127.0.0.1";
    options.tls = kube::ServingCertificate{bundle->certificate, bundle->key};
    server_ = std::make_unique<kube::HttpServer>(
        options, [this](const kube::HttpRequest& request) { return reviewer_.answer(request); });
    const auto started = server_->start();
    ASSERT_TRUE(started) << started.error().text();
  }

  [[nodiscard]] std::uint16_t port() const { return server_->port(); }

  void expect_good_review_is_answered(const std::string& after) {
    raw::Client client(port(), true);
    ASSERT_TRUE(client.secured()) << after;
    ASSERT_TRUE(client.write(good_review() + weak_review())) << after;
    for (const bool allowed : {true, false}) {
      const auto reply = client.reply();
      ASSERT_TRUE(reply) << after;
      EXPECT_EQ(reply->status, 200) << after;
      EXPECT_THAT(reply->head, HasSubstr("Content-Type: application/json")) << after;
      const json answer = json::parse(reply->body, nullptr, false);
      ASSERT_TRUE(answer.is_object()) << after;
      EXPECT_EQ(answer["response"]["allowed"], allowed) << after;
      EXPECT_EQ(answer["response"]["uid"], kUid) << after;
    }
  }

  std::string metrics() { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

  prometheus::Registry registry_;
  FakeView cluster_;
  Reviewer reviewer_{[this](const kube::HttpRequest&, const auto& use) {
                       use(cluster_);
                       return false;
                     },
                     registry_};
  std::unique_ptr<kube::HttpServer> server_;
};

TEST_F(Server, AnswersEveryRequestWithTheRightStatus) {
  const std::string review = envelope(good_pod()).dump();
  const struct {
    std::string name;
    std::string bytes;
    int status;
  } cases[] = {
      {"GET", head("GET", "/validate", "", 0), 405},
      {"PUT", head("PUT", "/validate", "application/json", review.size()) + review, 405},
      {"DELETE", head("DELETE", "/validate", "", 0), 405},
      {"the root", post(review, "application/json", "/"), 404},
      {"another path", post(review, "application/json", "/other"), 404},
      {"a longer path", post(review, "application/json", "/validate/x"), 404},
      {"a way out", post(review, "application/json", "/validate/../validate"), 404},
      {"no type", post(review, ""), 415},
      {"text", post(review, "text/plain"), 415},
      {"YAML", post(review, "application/yaml"), 415},
      {"protobuf", post(review, "application/vnd.kubernetes.protobuf"), 415},
      {"a type that begins alike", post(review, "application/json-patch+json"), 415},
      {"JSON", post(review), 200},
      {"JSON with its charset", post(review, "application/json; charset=utf-8"), 200},
      {"JSON in capitals", post(review, "Application/JSON"), 200},
      {"nothing", post(""), 400},
      {"no JSON", post("hello"), 400},
      {"half a review", post(review.substr(0, review.size() / 2)), 400},
      {"binary", post(std::string("\x00\x01\xff\xfe", 4)), 400},
      {"deep nesting", post(std::string(1'000'000, '[')), 400},
      {"7 MB of spaces", post(std::string(7'000'000, ' ')), 400},
      {"an endless header", "POST /validate HTTP/1.1\r\nX: " + std::string(64 * 1024, 'x'), 431},
      {"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400},
      {"two lengths",
       "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
       400},
  };
  for (const auto& c : cases) {
    {
      raw::Client client(port(), true);
      ASSERT_TRUE(client.secured()) << c.name;
      client.write(c.bytes);
      const auto reply = client.reply();
      ASSERT_TRUE(reply) << c.name;
      EXPECT_EQ(reply->status, c.status) << c.name << ": " << reply->body;
    }
    expect_good_review_is_answered(c.name);
  }
}

TEST_F(Server, TenMegabytesAreRefused) {
  {
    raw::Client client(port(), true);
    client.write(post(std::string(kTenMegabytes, ' ')));  // it may hang up before the end
    const auto reply = client.reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 413);
  }
  expect_good_review_is_answered("10 MB");
  {
    raw::Client client(port(), true);
    client.write(
        "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n");
    const std::string chunk = "10000\r\n" + std::string(0x10000, ' ') + "\r\n";
    for (std::size_t sent = 0; sent < kTenMegabytes; sent += 0x10000) {
      if (!client.write(chunk)) break;
    }
    const auto reply = client.reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 413);
  }
  expect_good_review_is_answered("10 MB in chunks");
  {
    // Only promised: nothing needs to be read to refuse it.
    raw::Client client(port(), true);
    client.write(head("POST", "/validate", "application/json", std::size_t{1} << 40));
    const auto reply = client.reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 413);
  }
  expect_good_review_is_answered("a promised terabyte");
}

TEST_F(Server, ASlowClientIsGivenUpAndHoldsNobodyUp) {
  kube::HttpServerOptions options;
  options.handshake_deadline = 4s;
  options.read_deadline = 4s;
  serve(options);
  const std::string review = good_review();
  raw::Client in_head(port(), true);
  in_head.write(review.substr(0, 30));
  raw::Client in_body(port(), true);
  in_body.write(review.substr(0, review.size() - 1));
  raw::Client in_handshake(port(), false);
  in_handshake.write("\x16\x03\x01");
  // They wait, others do not.
  expect_good_review_is_answered("slow clients");
  for (raw::Client* slow : {&in_head, &in_body}) {
    const auto reply = slow->reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 408);
    EXPECT_TRUE(slow->closed());
  }
  EXPECT_TRUE(in_handshake.closed());
  expect_good_review_is_answered("slow clients given up");
}

TEST_F(Server, CutConnectionsDoNoHarm) {
  const std::string review = good_review();
  for (const std::size_t sent : {std::size_t{0}, std::size_t{1}, std::size_t{40}, review.size() / 2,
                                 review.size() - 1, review.size()}) {
    for (int i = 0; i < 10; ++i) {
      raw::Client client(port(), true);
      client.write(std::string_view(review).substr(0, sent));
    }
    expect_good_review_is_answered("cut after " + std::to_string(sent));
  }
}

TEST_F(Server, GarbageInsteadOfTlsDoesNoHarm) {
  for (const std::string& bytes :
       {std::string("hello\r\n\r\n"), good_review(), std::string(100'000, '\xff'),
        std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", 10), std::string(1, '\0')}) {
    {
      raw::Client client(port(), false);
      client.write(bytes);
      const auto reply = client.reply();
      EXPECT_FALSE(reply) << "answered without TLS: " << reply->head;
    }
    expect_good_review_is_answered("no TLS");
  }
  raw::Client old(port(), true, TLS1_1_VERSION);
  EXPECT_FALSE(old.secured());
  expect_good_review_is_answered("TLS 1.1");
}

TEST_F(Server, ManyAtOnceGetEachTheirOwnAnswer) {
  constexpr int kClients = 8;
  constexpr int kRounds = 40;
  std::atomic<int> right = 0;
  {
    std::vector<std::jthread> clients;
    for (int c = 0; c < kClients; ++c) {
      clients.emplace_back([&, c] {
        raw::Client client(port(), true);
        for (int i = 0; i < kRounds; ++i) {
          const std::string uid = std::to_string(c) + "-" + std::to_string(i);
          const Weakened& weak =
              weakened_pods()[static_cast<std::size_t>(c * kRounds + i) % weakened_pods().size()];
          const bool allowed = i % 2 == 0;
          json body = envelope(allowed ? good_pod() : changed(good_pod(), weak.change));
          body["request"]["uid"] = uid;
          client.write(post(body.dump()));
          const auto reply = client.reply();
          const json answer = json::parse(reply ? reply->body : "", nullptr, false);
          if (!answer.is_object()) return;
          const json& response = answer["response"];
          const bool named =
              allowed ||
              response["status"].value("message", "").find(weak.control) != std::string::npos;
          right += response["uid"] == uid && response["allowed"] == allowed && named ? 1 : 0;
        }
      });
    }
  }
  EXPECT_EQ(right, kClients * kRounds);
}

TEST_F(Server, CountsWhatItAnswered) {
  raw::Client client(port(), true);
  for (const std::string& request : {good_review(), good_review(), weak_review(), post("x"),
                                     post(envelope(good_pod(), "DELETE", good_pod()).dump())}) {
    client.write(request);
    ASSERT_TRUE(client.reply());
  }
  const std::string text = metrics();
  EXPECT_THAT(text, HasSubstr(R"(reviews_total{operation="CREATE",verdict="allowed"} 2)"));
  EXPECT_THAT(text, HasSubstr(R"(reviews_total{operation="CREATE",verdict="denied"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(reviews_total{operation="DELETE",verdict="denied"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(reviews_total{operation="unknown",verdict="malformed"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(controls_total{action="enforce",control="not-privileged"} 1)"));
  // Guards are counted beside the controls, from the start.
  for (const policy::Control& guard : policy::guards()) {
    for (const char* action : {"enforce", "warn", "audit"}) {
      EXPECT_THAT(text, HasSubstr("controls_total{action=\"" + std::string(action) +
                                  "\",control=\"" + std::string(guard.id) + "\"} 0"));
    }
  }
  EXPECT_THAT(text, HasSubstr("palisade_webhook_in_flight 0"));
  EXPECT_THAT(text, HasSubstr("review_duration_seconds_count 5"));
}

TEST_F(Server, CountsWhatBecameOfAFindingInEachMode) {
  const struct {
    const char* mode;
    const char* verdict;
    Action action;
  } cases[] = {{"enforce", "denied", Action::kEnforce},
               {"warn", "allowed", Action::kWarn},
               {"audit", "allowed", Action::kAudit}};
  std::map<std::string, int> verdicts;
  for (const auto& c : cases) {
    cluster_.guarded.action = c.action;
    raw::Client client(port(), true);
    client.write(weak_review());
    ASSERT_TRUE(client.reply()) << c.mode;
    ++verdicts[c.verdict];
    const std::string text = metrics();
    for (const auto& other : cases) {
      const std::string counted = std::string("palisade_webhook_controls_total{action=\"") +
                                  other.mode + "\",control=\"not-privileged\"} ";
      EXPECT_THAT(text, HasSubstr(counted + (other.action <= c.action ? "1" : "0"))) << c.mode;
    }
    for (const auto& [verdict, count] : verdicts) {
      EXPECT_THAT(text, HasSubstr("reviews_total{operation=\"CREATE\",verdict=\"" + verdict +
                                  "\"} " + std::to_string(count)))
          << c.mode;
    }
  }
}

// One that let something in; not one that would have, or that did not suffice.
TEST_F(Server, CountsAnExceptionWhereItIsUsed) {
  auto exception = std::make_shared<policy::HardeningException>();
  exception->name = "legacy";
  exception->namespaces = {"team-a"};
  exception->controls = {"not-privileged"};
  exception->expires = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now() + 1h);
  cluster_.guarded.exceptions = {exception};
  prometheus::Registry registry;
  int events = 0;
  Reviewer reviewer(
      [this](const kube::HttpRequest&, const auto& use) {
        use(cluster_);
        return false;
      },
      registry,
      [&](const ExceptionUse& use, std::string_view) {
        EXPECT_EQ(use.exception->name, "legacy");
        ++events;
      });
  json weak = good_pod();
  weak["spec"]["containers"][0]["securityContext"]["privileged"] = true;
  json weaker = weak;
  weaker["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = false;
  const struct {
    const char* name;
    json pod;
    bool dry_run;
    bool allowed;
    int used;
  } cases[] = {
      {"dry run", weak, true, true, 0},
      {"denied for another control", weaker, false, false, 0},
      {"nothing to except", good_pod(), false, true, 0},
      {"used", weak, false, true, 1},
      {"used again", weak, false, true, 2},
  };
  for (const auto& c : cases) {
    json body = envelope(c.pod);
    body["request"]["dryRun"] = c.dry_run;
    kube::HttpRequest request;
    request.method = "POST";
    request.target = "/validate";
    request.content_type = "application/json";
    const std::string text = body.dump();
    request.body = text;
    const kube::HttpResponse response = reviewer.answer(request);
    const json answer = json::parse(response.body, nullptr, false);
    ASSERT_TRUE(answer.is_object()) << c.name;
    EXPECT_EQ(answer["response"]["allowed"], c.allowed) << c.name << ": " << response.body;
    EXPECT_EQ(events, c.used) << c.name;
    EXPECT_THAT(prometheus::TextSerializer().Serialize(registry.Collect()),
                HasSubstr("palisade_webhook_exceptions_total " + std::to_string(c.used)))
        << c.name;
  }
}

}  // namespace
}  // namespace palisade::webhook::testing
