// What the recorder writes, and that nothing it meets holds its caller back.
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/events.h>

#include "kube/fake_api.h"

namespace {

using namespace std::chrono_literals;
using fake_api::Api;
using fake_api::Ending;
using fake_api::Json;
using fake_api::status;
using kube::EventType;
using testing::HasSubstr;
using testing::StartsWith;
using Clock = std::chrono::steady_clock;

const Json kPod{{"apiVersion", "v1"},
                {"kind", "Pod"},
                {"metadata", {{"name", "web"}, {"namespace", "n"}, {"uid", "u1"}}}};

Json body_of(const std::string& text) {
  return Json::parse(text.substr(text.find("\r\n\r\n") + 4));
}

class EventsTest : public testing::Test {
 protected:
  void created(int count = 1) {
    for (int i = 0; i < count; ++i)
      api_.answer("POST", {"201 Created", "{}"});
  }
  void patched() { api_.answer("PATCH", {"200 OK", "{}"}); }
  std::unique_ptr<kube::EventRecorder> recorder() {
    return std::make_unique<kube::EventRecorder>(api_.client(60s), "palisade.dev/test", "pod-1");
  }
  // Waits until the server has answered that many.
  std::vector<std::string> texts(std::size_t count) {
    EXPECT_TRUE(api_.wait_for_requests(count));
    return api_.texts();
  }
  Api api_;
};

TEST_F(EventsTest, EventSaysWhoWhatAndWhy) {
  created();
  const auto events = recorder();
  events->record(kPod, EventType::kWarning, "Refused", "Reconcile", "no such image");
  const auto sent = texts(1);
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_THAT(sent[0], StartsWith("POST /apis/events.k8s.io/v1/namespaces/n/events "));
  const Json event = body_of(sent[0]);
  EXPECT_EQ(event.at("type"), "Warning");
  EXPECT_EQ(event.at("reason"), "Refused");
  EXPECT_EQ(event.at("action"), "Reconcile");
  EXPECT_EQ(event.at("note"), "no such image");
  EXPECT_EQ(event.at("reportingController"), "palisade.dev/test");
  EXPECT_EQ(event.at("reportingInstance"), "pod-1");
  EXPECT_EQ(event.at("regarding"), Json({{"apiVersion", "v1"},
                                         {"kind", "Pod"},
                                         {"name", "web"},
                                         {"namespace", "n"},
                                         {"uid", "u1"}}));
  EXPECT_THAT(event.at("metadata").at("name").get<std::string>(), StartsWith("web."));
  EXPECT_THAT(event.at("eventTime").get<std::string>(),
              testing::MatchesRegex("....-..-..T..:..:..\\.......Z"));
  EXPECT_FALSE(event.contains("series"));
}

TEST_F(EventsTest, RepetitionsBecomeOneSeries) {
  created();
  patched();
  patched();
  const auto events = recorder();
  for (int i = 0; i < 3; ++i)
    events->record(kPod, EventType::kNormal, "Started", "Start", "again");
  const auto sent = texts(3);
  ASSERT_EQ(sent.size(), 3U);
  const std::string name = body_of(sent[0]).at("metadata").at("name");
  for (int i = 1; i < 3; ++i) {
    const std::string& patch = sent[static_cast<std::size_t>(i)];
    EXPECT_THAT(patch,
                StartsWith("PATCH /apis/events.k8s.io/v1/namespaces/n/events/" + name + " "));
    EXPECT_THAT(patch, HasSubstr("application/merge-patch+json"));
    const Json series = body_of(patch).at("series");
    EXPECT_EQ(series.at("count"), i + 1);
    EXPECT_TRUE(series.contains("lastObservedTime"));
  }
}

TEST_F(EventsTest, AnotherMeaningIsAnotherEvent) {
  created(5);
  const auto events = recorder();
  Json other = kPod;
  other["metadata"]["uid"] = "u2";
  events->record(kPod, EventType::kNormal, "A", "Act", "note");
  events->record(kPod, EventType::kWarning, "A", "Act", "note");
  events->record(kPod, EventType::kNormal, "B", "Act", "note");
  events->record(kPod, EventType::kNormal, "A", "Act", "other note");
  events->record(other, EventType::kNormal, "A", "Act", "note");
  const auto sent = texts(5);
  std::set<std::string> names;
  for (const auto& one : sent) {
    EXPECT_THAT(one, StartsWith("POST "));
    names.insert(body_of(one).at("metadata").at("name"));
  }
  EXPECT_EQ(names.size(), 5U);
}

TEST_F(EventsTest, SeriesWhoseEventHasExpiredBeginsAnew) {
  created();
  api_.answer("PATCH", {"404 Not Found", status(404, "NotFound").dump()});
  created();
  const auto events = recorder();
  events->record(kPod, EventType::kNormal, "A", "Act", "note");
  events->record(kPod, EventType::kNormal, "A", "Act", "note");
  const auto sent = texts(3);
  EXPECT_THAT(sent[2], StartsWith("POST "));
}

// A create that was answered with "exists" has been written by an earlier try.
TEST_F(EventsTest, FailedWriteIsTriedAgain) {
  api_.answer("POST", {"500 Oops", ""});
  api_.answer("POST", {"200 OK", "", Ending::kCut});
  api_.answer("POST", {"409 Conflict", status(409, "AlreadyExists").dump()});
  patched();
  const auto events = recorder();
  events->record(kPod, EventType::kNormal, "A", "Act", "note");
  events->record(kPod, EventType::kNormal, "A", "Act", "note");
  const auto sent = texts(4);
  EXPECT_EQ(body_of(sent[0]), body_of(sent[1]));
  EXPECT_EQ(body_of(sent[0]), body_of(sent[2]));
  EXPECT_THAT(sent[3], StartsWith("PATCH "));
}

TEST_F(EventsTest, RefusedWriteIsDroppedAndTheNextOneGoesOut) {
  api_.answer("POST", {"403 Forbidden", status(403, "Forbidden").dump()});
  created();
  const auto events = recorder();
  events->record(kPod, EventType::kNormal, "A", "Act", "refused");
  events->record(kPod, EventType::kNormal, "A", "Act", "fine");
  const auto sent = texts(2);
  EXPECT_EQ(body_of(sent[1]).at("note"), "fine");
}

TEST_F(EventsTest, ObjectWithoutANamespaceIsReportedInDefault) {
  created();
  const auto events = recorder();
  events->record({{"kind", "Node"}, {"metadata", {{"name", "node-1"}, {"uid", "u"}}}},
                 EventType::kNormal, "A", "Act", "note");
  const auto sent = texts(1);
  EXPECT_THAT(sent[0], HasSubstr("/namespaces/default/events "));
  EXPECT_EQ(body_of(sent[0]).at("regarding").at("namespace"), "");
}

// The API server counts bytes: a note, whatever is in it, has at most 1,024.
TEST_F(EventsTest, LongNotesAreCutBetweenCharacters) {
  std::string wide;
  for (int i = 0; i < 600; ++i)
    wide += "\xf0\x9f\x94\x92";
  const std::string notes[] = {std::string(5000, 'x'),    wide,   "a" + wide, "ab" + wide,
                               std::string(1024, '\xff'), "a\xff"};
  created(6);
  const auto events = recorder();
  for (const auto& note : notes)
    events->record(kPod, EventType::kNormal, std::string(200, 'R'), std::string(200, 'A'), note);
  const auto sent = texts(6);
  for (const auto& one : sent) {
    const Json event = body_of(one);
    const std::string note = event.at("note");
    EXPECT_LE(note.size(), 1024U);
    EXPECT_EQ(event.at("reason").get<std::string>().size(), 128U);
    EXPECT_EQ(event.at("action").get<std::string>().size(), 128U);
  }
  EXPECT_EQ(body_of(sent[1]).at("note"), wide.substr(0, 1024));
  EXPECT_EQ(body_of(sent[2]).at("note"), "a" + wide.substr(0, 1020));
  EXPECT_EQ(body_of(sent[5]).at("note"), "a\xef\xbf\xbd");
}

// A server that never answers: the caller goes on, the oldest are dropped and counted, and the end
// comes soon though a call would wait for a minute.
TEST_F(EventsTest, StalledServerHoldsNobodyBack) {
  api_.answer("POST", {"200 OK", "", Ending::kHang});
  auto events = recorder();
  events->record(kPod, EventType::kNormal, "A", "Act", "first");
  ASSERT_TRUE(api_.wait_for_requests(1));
  auto begun = Clock::now();
  for (int i = 0; i < 1500; ++i)
    events->record(kPod, EventType::kNormal, "A", "Act", "note " + std::to_string(i));
  EXPECT_LT(Clock::now() - begun, 10s);
  EXPECT_EQ(events->dropped(), 500U);
  begun = Clock::now();
  events.reset();
  EXPECT_LT(Clock::now() - begun, 20s);
}

TEST_F(EventsTest, WhatIsQueuedAtTheEndIsStillWritten) {
  created(20);
  auto events = recorder();
  for (int i = 0; i < 20; ++i)
    events->record(kPod, EventType::kNormal, "A", "Act", "note " + std::to_string(i));
  events.reset();
  EXPECT_EQ(api_.texts().size(), 20U);
}

TEST_F(EventsTest, ManyThreadsMayRecord) {
  created(40);
  const auto events = recorder();
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 10; ++i)
          events->record(kPod, EventType::kNormal, "A", "Act", std::to_string(t * 10 + i));
      });
    }
  }
  std::set<std::string> names;
  for (const auto& one : texts(40))
    names.insert(body_of(one).at("metadata").at("name"));
  EXPECT_EQ(names.size(), 40U);
}

}  // namespace
