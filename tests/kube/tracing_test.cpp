#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/http_server.h>
#include <kube/tracing.h>

namespace kube {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(Traceparent, IsReadAndWritten) {
  const auto context = parse_traceparent(kParent);
  ASSERT_TRUE(context);
  EXPECT_TRUE(context->sampled);
  EXPECT_EQ(to_traceparent(*context), kParent);
  const auto quiet = parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02");
  ASSERT_TRUE(quiet);
  EXPECT_FALSE(quiet->sampled);
  // A later version may say more.
  EXPECT_TRUE(parse_traceparent("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"));
}

TEST(Traceparent, AnythingElseIsNone) {
  for (const std::string_view bad : {
           "",
           "00",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
           "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
           "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
           "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
           "00-00000000000000000000000000000000-b7ad6b7169203331-01",
           "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
           "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
           "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
           "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
       })
    EXPECT_FALSE(parse_traceparent(bad)) << bad;
}

HttpServerOptions on_loopback() {
  HttpServerOptions out;
  out.address = "127.0.0.1";
  out.threads = 1;
  return out;
}

Request get(const std::string& target) {
  Request out;
  out.target = target;
  return out;
}

// Takes what is posted; what it answers is the test's.
class Collector {
 public:
  Collector()
      : server_(on_loopback(), [this](const HttpRequest& request) { return answer(request); }) {
    const auto started = server_.start();
    if (!started) throw std::runtime_error(started.error().message);
  }
  ~Collector() { server_.stop(0s); }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  [[nodiscard]] std::string url() const {
    return "http://127.0.0.1:" + std::to_string(server_.port());
  }
  // Answers of the next posts; 200 with {} once there are none.
  void answers(std::vector<HttpResponse> next) {
    const std::scoped_lock lock(mutex_);
    next_ = std::move(next);
  }
  // Waits until so many posts have come.
  std::vector<Json> posts(std::size_t count) {
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, 20s, [&] { return posts_.size() >= count; });
    return posts_;
  }
  std::set<std::string> targets() {
    const std::scoped_lock lock(mutex_);
    return targets_;
  }

 private:
  HttpResponse answer(const HttpRequest& request) {
    const std::scoped_lock lock(mutex_);
    posts_.push_back(Json::parse(request.body));
    targets_.insert(std::string(request.method) + " " + std::string(request.target) + " " +
                    std::string(request.content_type));
    came_.notify_all();
    if (next_.empty()) return {200, "application/json", "{}"};
    HttpResponse out = next_.front();
    next_.erase(next_.begin());
    return out;
  }

  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<Json> posts_;
  std::set<std::string> targets_;
  std::vector<HttpResponse> next_;
  HttpServer server_;
};

TracingOptions options(const std::string& endpoint) {
  TracingOptions out;
  out.endpoint = endpoint;
  out.service = "palisade-test";
  out.resource = {{"service.instance.id", "pod-1"}};
  out.interval = 20ms;
  return out;
}

Json spans_of(const Json& post) {
  return post.at("resourceSpans").at(0).at("scopeSpans").at(0).at("spans");
}

Json value_of(const Json& span, std::string_view key) {
  for (const Json& attribute : span.at("attributes")) {
    if (attribute.at("key") == key) return attribute.at("value");
  }
  return nullptr;
}

TEST(Tracer, ASpanArrivesAsOtlpWantsIt) {
  Collector collector;
  Tracer tracer(options(collector.url() + "/otlp/"));
  const auto before = std::chrono::system_clock::now();
  {
    Span span = tracer.begin("review", SpanKind::kServer, parse_traceparent(kParent));
    ASSERT_TRUE(span.recording());
    span.set("uid", "a1");
    span.set("count", std::int64_t{7});
    span.set("dry_run", true);
    span.set("uid", "a2");  // the last one counts
    span.set("long", std::string(1000, 'x'));
    span.set("broken", "\xff\xfe");
    span.fail("no");
  }
  const std::vector<Json> posts = collector.posts(1);
  ASSERT_EQ(posts.size(), 1U);
  EXPECT_THAT(collector.targets(), ElementsAre("POST /otlp/v1/traces application/json"));
  const Json& resource = posts[0].at("resourceSpans").at(0).at("resource");
  EXPECT_EQ(value_of(resource, "service.name"), Json({{"stringValue", "palisade-test"}}));
  EXPECT_EQ(value_of(resource, "service.instance.id"), Json({{"stringValue", "pod-1"}}));
  const Json spans = spans_of(posts[0]);
  ASSERT_EQ(spans.size(), 1U);
  const Json& span = spans[0];
  EXPECT_EQ(span.at("traceId"), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(span.at("parentSpanId"), "b7ad6b7169203331");
  EXPECT_EQ(span.at("spanId").get<std::string>().size(), 16U);
  EXPECT_NE(span.at("spanId"), "b7ad6b7169203331");
  EXPECT_EQ(span.at("name"), "review");
  EXPECT_EQ(span.at("kind"), 2);
  EXPECT_EQ(value_of(span, "uid"), Json({{"stringValue", "a2"}}));
  EXPECT_EQ(value_of(span, "count"), Json({{"intValue", "7"}}));
  EXPECT_EQ(value_of(span, "dry_run"), Json({{"boolValue", true}}));
  EXPECT_EQ(value_of(span, "long").at("stringValue").get<std::string>().size(), 256U);
  EXPECT_THAT(value_of(span, "broken").at("stringValue").get<std::string>(),
              HasSubstr("\xEF\xBF\xBD"));
  EXPECT_EQ(span.at("status"), Json({{"code", 2}, {"message", "no"}}));
  const auto from = std::stoll(span.at("startTimeUnixNano").get<std::string>());
  const auto to = std::stoll(span.at("endTimeUnixNano").get<std::string>());
  EXPECT_LE(std::chrono::nanoseconds(before.time_since_epoch()).count(), from);
  EXPECT_LE(from, to);
  tracer.stop();
  EXPECT_EQ(tracer.counts().sent, 1U);
  EXPECT_EQ(tracer.counts().dropped, 0U);
}

TEST(Tracer, ACallersChoiceHoldsAndElseTheRatio) {
  Collector collector;
  TracingOptions never = options(collector.url());
  never.ratio = 0;
  Tracer tracer(std::move(never));
  const Span root = tracer.begin("root", SpanKind::kInternal);
  EXPECT_FALSE(root.recording());
  ASSERT_TRUE(root.context());  // whom it calls is told not to trace, either
  EXPECT_THAT(to_traceparent(*root.context()), ::testing::EndsWith("-00"));
  EXPECT_TRUE(tracer.begin("child", SpanKind::kInternal, parse_traceparent(kParent)).recording());
  TracingOptions always = options(collector.url());
  Tracer other(std::move(always));
  auto unsampled = parse_traceparent(kParent);
  unsampled->sampled = false;
  EXPECT_FALSE(other.begin("child", SpanKind::kInternal, unsampled).recording());
  EXPECT_TRUE(other.begin("root", SpanKind::kInternal).recording());
}

TEST(Tracer, OneThatIsToldToComeAgainComesAgain) {
  Collector collector;
  collector.answers({{503, "text/plain", "later"}, {429, "text/plain", "later"}});
  Tracer tracer(options(collector.url()));
  tracer.begin("once", SpanKind::kInternal).end();
  const auto posts = collector.posts(3);
  ASSERT_EQ(posts.size(), 3U);
  EXPECT_EQ(posts[0], posts[2]);
  tracer.stop();
  EXPECT_EQ(tracer.counts().sent, 1U);
  EXPECT_EQ(tracer.counts().dropped, 0U);
}

TEST(Tracer, WhatTheCollectorRefusesIsCounted) {
  Collector collector;
  collector.answers({{400, "text/plain", "no"},
                     {200, "application/json",
                      R"({"partialSuccess":{"rejectedSpans":"1","errorMessage":"no"}})"}});
  Tracer tracer(options(collector.url()));
  tracer.begin("refused", SpanKind::kInternal).end();
  ASSERT_EQ(collector.posts(1).size(), 1U);
  tracer.begin("rejected", SpanKind::kInternal).end();
  ASSERT_EQ(collector.posts(2).size(), 2U);
  tracer.stop();
  EXPECT_EQ(tracer.counts().sent, 0U);
  EXPECT_EQ(tracer.counts().dropped, 2U);
}

// Nobody who is traced waits for a collector that is away, and none of it grows.
TEST(Tracer, ACollectorThatIsAwayHoldsNobodyUp) {
  TracingOptions away = options("http://127.0.0.1:1");
  away.most_waiting = 10;
  away.batch = 4;
  Tracer tracer(std::move(away));
  for (int i = 0; i < 1000; ++i)
    tracer.begin("lost", SpanKind::kInternal).end();
  EXPECT_GT(tracer.counts().dropped, 900U);
  tracer.stop();
  EXPECT_EQ(tracer.counts().sent, 0U);
  EXPECT_EQ(tracer.counts().dropped, 1000U);
  tracer.begin("after the end", SpanKind::kInternal).end();
  EXPECT_EQ(tracer.counts().dropped, 1001U);
}

TEST(Tracer, WhatWaitsIsSentAtTheEnd) {
  Collector collector;
  TracingOptions slow = options(collector.url());
  slow.interval = 1h;
  Tracer tracer(std::move(slow));
  tracer.begin("last", SpanKind::kInternal).end();
  Span forgotten = tracer.begin("forgotten", SpanKind::kInternal);
  forgotten.forget();
  forgotten.end();
  tracer.stop();
  const auto posts = collector.posts(1);
  ASSERT_EQ(posts.size(), 1U);
  ASSERT_EQ(spans_of(posts[0]).size(), 1U);
  EXPECT_EQ(spans_of(posts[0])[0].at("name"), "last");
}

class Recorded : public Transport {
 public:
  Result<Response> send(const Request& request, std::stop_token) override {
    seen.push_back(request);
    if (request.target.starts_with("/broken")) {
      Error error;
      error.message = "cut";
      return std::unexpected(error);
    }
    return Response{request.target.starts_with("/none") ? 404 : 200, {}, "{}"};
  }
  Result<Response> stream(const Request& request, const ChunkSink&, std::chrono::milliseconds,
                          std::stop_token) override {
    seen.push_back(request);
    return Response{200, {}, {}};
  }
  std::vector<Request> seen;
};

TEST(Traced, CallsUnderACurrentSpanAreItsChildren) {
  Collector collector;
  const auto tracer = std::make_shared<Tracer>(options(collector.url()));
  const auto inner = std::make_shared<Recorded>();
  const auto transport = traced(tracer, nullptr)(inner);
  ASSERT_TRUE(transport->send(get("/outside"), {}));
  std::string parent;
  {
    const Span span = tracer->begin("look", SpanKind::kInternal);
    parent = to_traceparent(*span.context());
    const CurrentSpan current(span);
    ASSERT_TRUE(transport->send(get("/api/v1/pods?limit=500"), {}));
    ASSERT_TRUE(transport->send(get("/none"), {}));
    ASSERT_FALSE(transport->send(get("/broken"), {}));
    ASSERT_TRUE(transport->stream(get("/watch"), [](auto) { return true; }, 1s, {}));
  }
  ASSERT_TRUE(transport->send(get("/outside"), {}));
  tracer->stop();
  ASSERT_EQ(inner->seen.size(), 6U);
  for (const std::size_t untraced : {0U, 4U, 5U})
    EXPECT_EQ(header(inner->seen[untraced].headers, "traceparent"), "") << untraced;
  std::map<std::string, Json> by_path;
  for (const Json& post : collector.posts(1)) {
    for (const Json& span : spans_of(post)) {
      const Json path = span.contains("attributes") ? value_of(span, "url.path") : Json();
      by_path[path.is_null() ? "" : path.at("stringValue").get<std::string>()] = span;
    }
  }
  ASSERT_EQ(by_path.size(), 4U);
  const auto above = parse_traceparent(parent);
  for (const auto& [path, seen] :
       {std::pair{"/api/v1/pods", 1U}, std::pair{"/none", 2U}, std::pair{"/broken", 3U}}) {
    const Json& span = by_path[path];
    const auto told = parse_traceparent(header(inner->seen[seen].headers, "traceparent"));
    ASSERT_TRUE(told) << path;
    EXPECT_EQ(told->trace, above->trace);
    EXPECT_EQ(to_traceparent(*told), "00-" + span.at("traceId").get<std::string>() + "-" +
                                         span.at("spanId").get<std::string>() + "-01");
    EXPECT_EQ(span.at("parentSpanId"), by_path[""].at("spanId"));
    EXPECT_EQ(span.contains("status"), path != std::string_view("/api/v1/pods")) << path;
  }
  EXPECT_EQ(value_of(by_path["/none"], "http.response.status_code"), Json({{"intValue", "404"}}));
}

TEST(TracingFlags, AreCheckedAtTheStart) {
  EXPECT_EQ(make_tracer({}, "palisade-test", "pod"), nullptr);
  const auto why = [](const TracingFlags& flags) -> std::string {
    try {
      (void)make_tracer(flags, "palisade-test", "pod");
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "taken";
  };
  EXPECT_THAT(why({"collector:4318", "", "", 1.0}), HasSubstr("--otlp-endpoint"));
  EXPECT_THAT(why({"http://127.0.0.1:1", "", "", 1.5}), HasSubstr("from 0 to 1"));
  EXPECT_THAT(why({"http://127.0.0.1:1", "/nowhere/ca.pem", "", 1.0}),
              HasSubstr("--otlp-ca-file: /nowhere/ca.pem"));
  const auto file = std::filesystem::path(::testing::TempDir()) / "otlp-headers";
  for (const auto& [text, wanted] :
       {std::pair{"Authorization: Bearer sk-secret\n\nX-Tenant:  a \r\n", "taken"},
        std::pair{"Authorization: a\nBearer sk-secret\n", "line 2: must be NAME: VALUE"},
        std::pair{"Two Words: a\n", "line 1"}, std::pair{"Empty:\n", "line 1"}}) {
    std::ofstream(file) << text;
    const std::string told = why({"http://127.0.0.1:1", "", file.string(), 1.0});
    EXPECT_THAT(told, HasSubstr(wanted)) << text;
    EXPECT_THAT(told, ::testing::Not(HasSubstr("sk-secret")));
  }
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace kube
