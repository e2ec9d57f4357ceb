// What a reflector delivers, event by event, whatever happens to its lists and watches.
#include <chrono>
#include <mutex>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/reflector.h>

#include "kube/fake_api.h"

namespace {

using namespace std::chrono_literals;
using fake_api::Answer;
using fake_api::Api;
using fake_api::bookmark;
using fake_api::Ending;
using fake_api::event;
using fake_api::Json;
using fake_api::list;
using fake_api::object;
using fake_api::status;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;
using Clock = std::chrono::steady_clock;
using Lines = std::vector<std::string>;

bool eventually(const std::function<bool()>& what) {
  for (const auto deadline = Clock::now() + 15s; Clock::now() < deadline;
       std::this_thread::sleep_for(2ms)) {
    if (what()) return true;
  }
  return what();
}

std::string text(const kube::ObjectPtr& object) {
  return object->at("metadata").at("name").get<std::string>() + "@" +
         object->at("metadata").at("resourceVersion").get<std::string>();
}

class ReflectorTest : public testing::Test {
 protected:
  ~ReflectorTest() override { reflector_.reset(); }

  void start(kube::ReflectorOptions options = {},
             std::function<void(const kube::ObjectPtr&)> on_delete = {}) {
    options.namespaces = {"n"};
    options.backoff_initial = 5ms;
    options.backoff_max = 20ms;
    kube::EventHandler handler;
    handler.on_add = [this](const kube::ObjectPtr& o) { note("add " + text(o), o, true); };
    handler.on_update = [this](const kube::ObjectPtr& before, const kube::ObjectPtr& after) {
      note("update " + text(before) + " " + text(after), after, true);
    };
    handler.on_delete = [this, on_delete](const kube::ObjectPtr& o) {
      note("delete " + text(o), o, false);
      if (on_delete) on_delete(o);
    };
    reflector_ = std::make_unique<kube::Reflector>(api_.client(), kube::resources::kConfigMaps,
                                                   options, handler);
    reflector_->start();
  }
  // Each event comes after the cache has changed.
  void note(const std::string& line, const kube::ObjectPtr& object, bool present) {
    const auto cached = reflector_->cache().get(kube::object_key(*object));
    EXPECT_EQ(cached != nullptr, present) << line;
    if (cached && present) {
      EXPECT_EQ(text(cached), text(object));
    }
    const std::scoped_lock lock(mutex_);
    events_.push_back(line);
  }
  Lines events() {
    const std::scoped_lock lock(mutex_);
    return events_;
  }
  Lines cached() {
    Lines out;
    for (const auto& one : reflector_->cache().all())
      out.push_back(text(one));
    std::ranges::sort(out);
    return out;
  }
  // Waits until that many requests have come and the last of them, a watch that hangs, has been
  // read: then nothing more can happen.
  Lines settled(std::size_t requests, std::size_t events_expected) {
    EXPECT_TRUE(api_.wait_for_requests(requests));
    EXPECT_TRUE(eventually([&] { return events().size() >= events_expected; }));
    std::this_thread::sleep_for(50ms);  // for one too many
    return events();
  }
  void lists(const std::string& body) { api_.answer("list", {"200 OK", body}); }
  void watches(const std::string& body, Ending ending = Ending::kClean) {
    api_.answer("watch", {"200 OK", body, ending});
  }

  Api api_;
  std::mutex mutex_;
  Lines events_;
  std::unique_ptr<kube::Reflector> reflector_;
};

// Where a request starts from: its resourceVersion, "-" where it names none.
std::string version_of(const std::string& request) {
  const auto at = request.find("resourceVersion=");
  if (at == std::string::npos) return "-";
  return request.substr(at + 16, request.find('&', at) - at - 16);
}
Lines conversation(const Lines& requests) {
  Lines out;
  for (const std::string& one : requests)
    out.push_back(one.substr(0, one.find(' ')) + " " + version_of(one));
  return out;
}

TEST_F(ReflectorTest, ListsThenWatchesFromThere) {
  lists(list(10, {object("a", 3), object("b", 7)}));
  watches(event("ADDED", object("c", 11)) + event("MODIFIED", object("a", 12)) +
              event("DELETED", object("b", 13)) + bookmark(20),
          Ending::kHang);
  start();
  EXPECT_TRUE(reflector_->wait_for_sync(15s));
  EXPECT_THAT(settled(2, 5),
              ElementsAre("add a@3", "add b@7", "add c@11", "update a@3 a@12", "delete b@13"));
  EXPECT_EQ(cached(), (Lines{"a@12", "c@11"}));
  EXPECT_EQ(reflector_->last_error(), "");
  const auto asked = api_.asked();
  EXPECT_THAT(conversation(asked), ElementsAre("list 0", "watch 10"));
  EXPECT_THAT(asked[0], StartsWith("list /api/v1/namespaces/n/configmaps?"));
  EXPECT_THAT(asked[1], HasSubstr("allowWatchBookmarks=true"));
  EXPECT_THAT(asked[1], HasSubstr("timeoutSeconds="));
  const auto a = reflector_->cache().get("n", "a");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->value("kind", ""), "ConfigMap");
  EXPECT_EQ(a->value("apiVersion", ""), "v1");
}

TEST_F(ReflectorTest, SelectorsGoWithListAndWatch) {
  lists(list(1, {}));
  kube::ReflectorOptions options;
  options.label_selector = "app=x,tier!=y";
  options.field_selector = "metadata.name=z";
  start(options);
  ASSERT_TRUE(api_.wait_for_requests(2));
  for (const std::string& one : api_.asked()) {
    EXPECT_THAT(one, HasSubstr("labelSelector=app%3Dx%2Ctier%21%3Dy"));
    EXPECT_THAT(one, HasSubstr("fieldSelector=metadata.name%3Dz"));
  }
}

TEST_F(ReflectorTest, PagesAreOneList) {
  lists(list(10, {object("a", 1)}, "next/1"));
  lists(list(10, {object("b", 2)}));
  start();
  EXPECT_THAT(settled(3, 2), ElementsAre("add a@1", "add b@2"));
  EXPECT_THAT(api_.asked()[1], HasSubstr("continue=next%2F1"));
  EXPECT_THAT(conversation(api_.asked()), ElementsAre("list 0", "list -", "watch 10"));
}

// What the server sends beside the identity is seen by the transform alone.
Json big(const std::string& name, int version) {
  Json out = object(name, version);
  out["metadata"]["managedFields"] = "large";
  out["data"] = {{"wanted", name + std::to_string(version)}, {"bulk", std::string(1000, 'x')}};
  return out;
}

TEST_F(ReflectorTest, TransformIsAllThatIsKeptAndTold) {
  lists(list(10, {big("a", 1), big("b", 2)}));
  watches(event("ADDED", big("c", 11)) + event("MODIFIED", big("a", 12)) +
              event("DELETED", big("b", 13)) + bookmark(20),
          Ending::kHang);
  kube::ReflectorOptions options;
  options.transform = [](const Json& whole) {
    EXPECT_TRUE(whole.contains("data")) << whole.dump();  // never a bookmark, never twice
    EXPECT_EQ(whole.value("kind", ""), "ConfigMap");
    return Json{{"wanted", whole["data"]["wanted"]}};
  };
  std::vector<Json> deleted;
  start(options, [&](const kube::ObjectPtr& last) { deleted.push_back(*last); });
  EXPECT_THAT(settled(2, 5),
              ElementsAre("add a@1", "add b@2", "add c@11", "update a@1 a@12", "delete b@13"));
  EXPECT_EQ(cached(), (Lines{"a@12", "c@11"}));
  EXPECT_EQ(
      *reflector_->cache().get("n", "a"),
      (Json{{"wanted", "a12"},
            {"metadata",
             {{"namespace", "n"}, {"name", "a"}, {"uid", "uid-a"}, {"resourceVersion", "12"}}}}));
  reflector_->stop();
  ASSERT_EQ(deleted.size(), 1U);
  EXPECT_EQ(deleted[0].value("wanted", ""), "b13");
  EXPECT_FALSE(deleted[0].contains("data"));
}

TEST_F(ReflectorTest, TransformCannotChangeWhoAnObjectIs) {
  for (const Json& returned :
       {Json(nullptr), Json::array(), Json{{"metadata", 5}},
        Json{{"metadata", {{"name", "z"}, {"uid", "u"}, {"resourceVersion", 9}}}}}) {
    reflector_.reset();
    events_.clear();
    lists(list(10, {big("a", 1)}));
    watches(event("MODIFIED", big("a", 12)) + event("DELETED", big("a", 13)), Ending::kHang);
    const std::size_t before = api_.asked().size();
    kube::ReflectorOptions options;
    options.transform = [&](const Json&) { return returned; };
    start(options);
    EXPECT_THAT(settled(before + 2, 3), ElementsAre("add a@1", "update a@1 a@12", "delete a@13"))
        << returned.dump();
    EXPECT_EQ(reflector_->cache().size(), 0U);
  }
}

TEST_F(ReflectorTest, TransformedListsComeInPagesAndEachIsReducedBeforeTheNext) {
  lists(list(10, {big("a", 1), big("b", 2)}, "p2"));
  lists(list(10, {big("c", 3)}, "p3"));
  lists(list(10, {big("d", 4)}));
  api_.answer("watch", {"410 Gone", status(410, "Expired").dump()});
  lists(list(20, {big("a", 15)}, "p2"));
  lists(list(20, {big("d", 4)}));
  Lines pages;  // how many pages had been asked for when each object was reduced
  kube::ReflectorOptions options;
  options.transform = [&](const Json& whole) {
    pages.push_back(whole["metadata"]["name"].get<std::string>() + " " +
                    std::to_string(api_.asked().size()));
    return Json::object();
  };
  start(options);
  EXPECT_THAT(settled(7, 7), ElementsAre("add a@1", "add b@2", "add c@3", "add d@4", testing::_,
                                         testing::_, "update a@1 a@15"));
  EXPECT_EQ(cached(), (Lines{"a@15", "d@4"}));
  reflector_->stop();
  EXPECT_THAT(pages, ElementsAre("a 1", "b 1", "c 2", "d 3", "a 5", "d 6"));
  const auto asked = api_.asked();
  // At version 0 the server ignores the limit: so none is named, neither first nor later.
  EXPECT_THAT(conversation(asked), ElementsAre("list -", "list -", "list -", "watch 10", "list -",
                                               "list -", "watch 20"));
  for (const std::string& one : asked) {
    if (one.starts_with("list")) {
      EXPECT_THAT(one, HasSubstr("limit=500"));
    }
  }
}

TEST_F(ReflectorTest, PagesThatDoNotAdvanceAreAnError) {
  for (int i = 0; i < 3; ++i)
    lists(list(10, {object("a", 1)}, "same"));
  start();
  EXPECT_TRUE(eventually([&] { return !reflector_->last_error().empty(); }));
  EXPECT_FALSE(reflector_->has_synced());
  EXPECT_THAT(events(), IsEmpty());
}

TEST_F(ReflectorTest, WatchThatEndsGoesOnWhereItStopped) {
  lists(list(10, {object("a", 3)}));
  watches(event("MODIFIED", object("a", 11)));
  watches(bookmark(15));
  watches(event("MODIFIED", object("a", 16)), Ending::kHang);
  start();
  EXPECT_THAT(settled(4, 3), ElementsAre("add a@3", "update a@3 a@11", "update a@11 a@16"));
  EXPECT_THAT(conversation(api_.asked()),
              ElementsAre("list 0", "watch 10", "watch 11", "watch 15"));
}

TEST_F(ReflectorTest, CutWatchLosesAndRepeatsNothing) {
  const std::string whole = event("ADDED", object("c", 12));
  lists(list(10, {object("a", 3)}));
  watches(event("ADDED", object("b", 11)) + whole.substr(0, 20), Ending::kCut);
  watches(whole + event("MODIFIED", object("b", 13)), Ending::kCut);
  watches("", Ending::kCut);
  watches(event("DELETED", object("c", 14)), Ending::kHang);
  start();
  EXPECT_THAT(settled(5, 5),
              ElementsAre("add a@3", "add b@11", "add c@12", "update b@11 b@13", "delete c@14"));
  EXPECT_EQ(cached(), (Lines{"a@3", "b@13"}));
  EXPECT_THAT(conversation(api_.asked()),
              ElementsAre("list 0", "watch 10", "watch 11", "watch 13", "watch 13"));
}

// After 410 the newest state is listed: the differences are told, deletions too.
TEST_F(ReflectorTest, GoneRelistsAndTellsTheDifference) {
  struct Case {
    const char* what;
    Answer gone;
  };
  const std::string expired = status(410, "Expired", "too old resource version").dump();
  for (const auto& [what, gone] :
       {Case{"status", {"410 Gone", expired}},
        Case{"event", {"200 OK", event("ERROR", status(410, "Expired"))}},
        Case{"event before the end",
             {"200 OK", event("ERROR", status(410, "Gone")), Ending::kHang}}}) {
    SCOPED_TRACE(what);
    reflector_.reset();
    events_.clear();
    const std::size_t before = api_.asked().size();
    lists(list(10, {object("a", 3), object("b", 4), object("c", 5), object("d", 6)}));
    api_.answer("watch", gone);
    lists(list(30, {object("a", 3), object("b", 21), object("d", 22, "another"), object("e", 23)}));
    watches(event("MODIFIED", object("e", 31)), Ending::kHang);
    start();
    const Lines got = settled(before + 4, 10);
    EXPECT_EQ(Lines(got.begin(), got.begin() + 4),
              (Lines{"add a@3", "add b@4", "add c@5", "add d@6"}));
    EXPECT_EQ(Lines(got.begin() + 4, got.end()),
              (Lines{"delete c@30", "update b@4 b@21", "delete d@6", "add d@22", "add e@23",
                     "update e@23 e@31"}));
    EXPECT_EQ(cached(), (Lines{"a@3", "b@21", "d@22", "e@31"}));
    const auto asked = api_.asked();
    EXPECT_THAT(
        conversation(Lines(asked.begin() + static_cast<std::ptrdiff_t>(before), asked.end())),
        ElementsAre("list 0", "watch 10", "list -", "watch 30"));
  }
}

TEST_F(ReflectorTest, GoneOnAContinuePageStartsTheListAgain) {
  lists(list(10, {object("a", 1)}, "page2"));
  api_.answer("list", {"410 Gone", status(410, "Expired").dump()});
  lists(list(12, {object("a", 1), object("b", 2)}));
  start();
  EXPECT_THAT(settled(4, 2), ElementsAre("add a@1", "add b@2"));
  EXPECT_THAT(conversation(api_.asked()), ElementsAre("list 0", "list -", "list -", "watch 12"));
}

TEST_F(ReflectorTest, OverloadedServerIsWatchedAgainNotListed) {
  lists(list(10, {object("a", 3)}));
  api_.answer("watch", {"429 Too Many Requests", status(429, "TooManyRequests").dump()});
  api_.answer("watch", {"503 Service Unavailable", "try later"});
  api_.answer("watch", {"200 OK", event("ERROR", status(429, "TooManyRequests")), Ending::kHang});
  watches(event("MODIFIED", object("a", 11)), Ending::kHang);
  start();
  EXPECT_THAT(settled(5, 2), ElementsAre("add a@3", "update a@3 a@11"));
  EXPECT_THAT(conversation(api_.asked()),
              ElementsAre("list 0", "watch 10", "watch 10", "watch 10", "watch 10"));
  EXPECT_EQ(reflector_->last_error(), "");
}

TEST_F(ReflectorTest, RetryAfterIsHonoured) {
  lists(list(10, {}));
  api_.answer("watch", {"429 Too Many Requests", "", Ending::kClean, "Retry-After: 1\r\n"});
  start();
  ASSERT_TRUE(api_.wait_for_requests(2));
  const auto begun = Clock::now();
  ASSERT_TRUE(api_.wait_for_requests(3));
  EXPECT_GE(Clock::now() - begun, 800ms);
}

TEST_F(ReflectorTest, FailedListIsTriedAgainAndSaysWhy) {
  api_.answer("list", {"403 Forbidden", status(403, "Forbidden", "no rights").dump()});
  api_.answer("list", {"200 OK", "garbage"});
  api_.answer("list", {"200 OK", R"({"kind":"List","metadata":{},"items":[]})"});
  api_.answer("list", {"200 OK", R"({"metadata":{"resourceVersion":"1"},"items":[{}]})"});
  api_.answer("list", {"500 Oops", ""});
  api_.answer("list", {"200 OK", "", Ending::kCut});
  EXPECT_TRUE(events().empty());
  start();
  EXPECT_TRUE(eventually([&] { return !reflector_->last_error().empty(); }));
  EXPECT_FALSE(reflector_->has_synced());
  // Unscripted lists are 500: it waits for a good one.
  ASSERT_TRUE(api_.wait_for_requests(8));
  lists(list(10, {object("a", 3)}));
  ASSERT_TRUE(reflector_->wait_for_sync(15s));
  EXPECT_THAT(events(), ElementsAre("add a@3"));
  EXPECT_EQ(reflector_->last_error(), "");
}

TEST_F(ReflectorTest, KindThatIsNotServedIsToldUntilItIs) {
  for (int i = 0; i < 30; ++i)
    api_.answer("list", {"404 Not Found", status(404, "NotFound", "no such resource").dump()});
  lists(list(10, {object("a", 3)}));
  start();
  EXPECT_TRUE(eventually([&] {
    return reflector_->last_error().find(
               "the API server does not serve configmaps of v1: bring its "
               "definition up") != std::string::npos;
  })) << reflector_->last_error();
  ASSERT_TRUE(reflector_->wait_for_sync(15s));
  EXPECT_EQ(reflector_->last_error(), "");
}

// A line that is no event delivers what came before it and nothing else.
TEST_F(ReflectorTest, MalformedLinesLoseNothing) {
  const std::string lines[] = {"{\"type\":\"ADDED\",\"object\":\n",
                               "garbage\n",
                               "[]\n",
                               "{\"type\":\"ADDED\"}\n",
                               "{\"type\":\"ADDED\",\"object\":{}}\n",
                               event("UNKNOWN", object("x", 99)),
                               event("ADDED", {{"metadata", {{"resourceVersion", "99"}}}}),
                               std::string("\xff\xfe\0\x01\n", 5)};
  lists(list(10, {}));
  int version = 10;
  Lines expected;
  std::size_t requests = 1;
  for (const std::string& line : lines) {
    ++version;
    const std::string name = "o" + std::to_string(version);
    watches(event("ADDED", object(name, version)) + line, Ending::kHang);
    expected.push_back("add " + name + "@" + std::to_string(version));
    ++requests;
  }
  start();
  // The failures are followed by new watches from the last good event; no list is needed for them.
  EXPECT_EQ(settled(requests + 1, expected.size()), expected);
  EXPECT_EQ(reflector_->cache().size(), expected.size());
  const auto asked = conversation(api_.asked());
  EXPECT_EQ(asked.back(), "watch " + std::to_string(version));
}

// The same broken line again and again: a fresh list gets past it.
TEST_F(ReflectorTest, WatchThatNeverWorksIsGivenUpForAList) {
  lists(list(10, {object("a", 3)}));
  for (int i = 0; i < 3; ++i)
    watches("garbage\n", Ending::kHang);
  lists(list(40, {object("a", 31)}));
  start();
  EXPECT_THAT(settled(6, 2), ElementsAre("add a@3", "update a@3 a@31"));
  EXPECT_THAT(conversation(api_.asked()),
              ElementsAre("list 0", "watch 10", "watch 10", "watch 10", "list 10", "watch 40"));
}

TEST_F(ReflectorTest, WhatIsKnownAlreadyIsNotToldAgain) {
  lists(list(10, {object("a", 3)}));
  watches(event("ADDED", object("a", 3)) + event("MODIFIED", object("a", 11)) +
              event("MODIFIED", object("a", 11)) + event("DELETED", object("zz", 12)) +
              event("DELETED", object("a", 13, "of an earlier holder")) +
              event("ADDED", object("a", 14, "of a later holder")),
          Ending::kHang);
  start();
  EXPECT_THAT(settled(2, 4), ElementsAre("add a@3", "update a@3 a@11", "delete a@11", "add a@14"));
  EXPECT_EQ(cached(), (Lines{"a@14"}));
}

TEST_F(ReflectorTest, VersionTooLargeRelistsFromTheNewest) {
  lists(list(50, {object("a", 50)}));
  api_.answer("watch",
              {"504 Gateway Timeout",
               status(504, "Timeout", "Too large resource version: 50, current: 9").dump()});
  lists(list(9, {object("a", 9)}));
  start();
  EXPECT_THAT(settled(4, 2), ElementsAre("add a@50", "update a@50 a@9"));
  EXPECT_THAT(conversation(api_.asked()), ElementsAre("list 0", "watch 50", "list -", "watch 9"));
}

TEST_F(ReflectorTest, StopEndsAHangingWatchAndList) {
  for (const bool listed : {true, false}) {
    if (listed)
      lists(list(1, {}));
    else
      api_.answer("list", {"200 OK", "", Ending::kHang});
    const std::size_t before = api_.asked().size();
    start();
    ASSERT_TRUE(api_.wait_for_requests(before + (listed ? 2 : 1)));
    const auto begun = Clock::now();
    reflector_->stop();
    reflector_->stop();
    EXPECT_LT(Clock::now() - begun, 10s);
  }
}

TEST_F(ReflectorTest, WaitForSyncEndsByItsDeadlineAndByStop) {
  api_.answer("list", {"200 OK", "", Ending::kHang});
  start();
  EXPECT_FALSE(reflector_->wait_for_sync(20ms));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_FALSE(reflector_->wait_for_sync(600s, stop.get_token()));
}

// A long random history, cut anywhere: the handler's events always add up to the history.
TEST_F(ReflectorTest, RandomCutsAddUpToTheHistory) {
  std::minstd_rand random(7);  // NOLINT(cert-msc51-cpp): the same history each time
  const auto below = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  std::map<std::string, int> world;
  Lines expected;
  lists(list(10, {}));
  int version = 10;
  std::size_t requests = 1;
  for (int stream = 0; stream < 60; ++stream) {
    std::string body;
    const int count = below(6);
    for (int i = 0; i < count; ++i) {
      const std::string name = "o" + std::to_string(below(5));
      const std::string now = name + "@" + std::to_string(++version);
      if (!world.contains(name)) {
        body += event("ADDED", object(name, version));
        expected.push_back("add " + now);
        world[name] = version;
      } else if (below(3) == 0) {
        body += event("DELETED", object(name, version));
        expected.push_back("delete " + now);
        world.erase(name);
      } else {
        body += event("MODIFIED", object(name, version));
        expected.push_back("update " + name + "@" + std::to_string(world[name]) + " " + now);
        world[name] = version;
      }
    }
    const bool cut = below(2) == 0;
    if (cut)
      body += event("ADDED", object("never", version + 1))
                  .substr(0, 1 + static_cast<std::size_t>(below(60)));
    watches(body, cut ? Ending::kCut : Ending::kClean);
    ++requests;
  }
  start();
  EXPECT_EQ(settled(requests + 1, expected.size()), expected);
  Lines left;
  for (const auto& [name, at] : world)
    left.push_back(name + "@" + std::to_string(at));
  EXPECT_EQ(cached(), left);
  EXPECT_THAT(conversation(api_.asked()), testing::Contains(StartsWith("list")).Times(1));
}

}  // namespace
