// A reflector's first state and relists as watches that begin with them.
#include <chrono>
#include <functional>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/reflector.h>

#include "kube/fake_api.h"

namespace {

using namespace std::chrono_literals;
using fake_api::Api;
using fake_api::bookmark;
using fake_api::Ending;
using fake_api::event;
using fake_api::Json;
using fake_api::list;
using fake_api::object;
using fake_api::status;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;
using Lines = std::vector<std::string>;

bool eventually(const std::function<bool()>& what) {
  for (const auto deadline = std::chrono::steady_clock::now() + 15s;
       std::chrono::steady_clock::now() < deadline; std::this_thread::sleep_for(2ms)) {
    if (what()) return true;
  }
  return what();
}

std::string end_of_initial_events(int version) {
  return event("BOOKMARK", {{"metadata",
                             {{"resourceVersion", std::to_string(version)},
                              {"annotations", {{"k8s.io/initial-events-end", "true"}}}}}});
}

class StreamingList : public testing::Test {
 protected:
  ~StreamingList() override { reflector_.reset(); }
  void start(std::function<Json(Json)> transform = nullptr) {
    kube::ReflectorOptions options;
    options.namespaces = {"n"};
    options.backoff_initial = 5ms;
    options.backoff_max = 20ms;
    options.streaming_list = true;
    options.transform = std::move(transform);
    kube::EventHandler handler;
    handler.on_add = [this](const kube::ObjectPtr& o) { note("add", o); };
    handler.on_update = [this](const kube::ObjectPtr&, const kube::ObjectPtr& o) {
      note("update", o);
    };
    handler.on_delete = [this](const kube::ObjectPtr& o) { note("delete", o); };
    reflector_ = std::make_unique<kube::Reflector>(api_.client(), kube::resources::kConfigMaps,
                                                   options, handler);
    reflector_->start();
  }
  void note(const std::string& what, const kube::ObjectPtr& object) {
    const Json& metadata = object->at("metadata");
    const std::scoped_lock lock(mutex_);
    lines_.push_back(what + " " + metadata.at("name").get<std::string>() + "@" +
                     metadata.at("resourceVersion").get<std::string>());
  }
  Lines lines() {
    const std::scoped_lock lock(mutex_);
    return lines_;
  }
  // Of the requests those that begin with `kind`.
  std::size_t asked(const std::string& kind) {
    const auto all = api_.asked();
    return static_cast<std::size_t>(
        std::ranges::count_if(all, [&](const std::string& one) { return one.starts_with(kind); }));
  }
  void streams(const std::string& body, Ending ending = Ending::kHang) {
    api_.answer("watch", {"200 OK", body, ending, ""});
  }

  Api api_;
  std::mutex mutex_;
  Lines lines_;
  std::unique_ptr<kube::Reflector> reflector_;
};

TEST_F(StreamingList, IsTheStateAtItsBookmarkAndTheWatchGoesOnThere) {
  streams(event("ADDED", object("a", 3)) + event("ADDED", object("b", 4)) + bookmark(5) +
          event("MODIFIED", object("a", 6)) + event("DELETED", object("b", 7)) +
          event("ADDED", object("b", 8, "another")) + event("DELETED", object("b", 9)) +
          end_of_initial_events(9) + event("ADDED", object("late", 10)));
  streams(event("ADDED", object("late", 10)));
  start();
  ASSERT_TRUE(reflector_->wait_for_sync(15s));
  EXPECT_TRUE(eventually([&] { return lines().size() == 3; }));
  EXPECT_THAT(lines(), ElementsAre("add a@6", "add b@8", "add late@10"));
  const auto asked = api_.asked();
  ASSERT_EQ(asked.size(), 2U);
  EXPECT_THAT(asked[0],
              AllOf(StartsWith("watch "), HasSubstr("sendInitialEvents=true"),
                    HasSubstr("resourceVersionMatch=NotOlderThan"),
                    HasSubstr("allowWatchBookmarks=true"), HasSubstr("resourceVersion=0&")));
  EXPECT_THAT(asked[1],
              AllOf(HasSubstr("resourceVersion=9&"), Not(HasSubstr("sendInitialEvents"))));
}

TEST_F(StreamingList, RelistsTellWhatIsGoneAndSeeTheTransform) {
  streams(event("ADDED", object("a", 3)) + event("ADDED", object("b", 4)) +
          end_of_initial_events(4));
  api_.answer("watch", {"410 Gone", status(410, "Expired").dump(), Ending::kClean, ""});
  streams(event("ADDED", object("b", 4)) + end_of_initial_events(12));
  start([](Json given) {
    given["kept"] = true;
    return given;
  });
  EXPECT_TRUE(eventually([&] { return lines().size() == 3; }));
  EXPECT_THAT(lines(), ElementsAre("add a@3", "add b@4", "delete a@12"));
  EXPECT_EQ(reflector_->cache().get("n", "b")->value("kept", false), true);
  EXPECT_THAT(api_.asked().at(2),
              AllOf(HasSubstr("sendInitialEvents=true"), Not(HasSubstr("resourceVersion="))));
  EXPECT_EQ(asked("list"), 0U);
}

// Nothing of a state that did not come whole is ever seen.
TEST_F(StreamingList, AnOrdinaryListTakesItsPlaceWhereTheServerHasNone) {
  const std::string some = event("ADDED", object("half", 3));
  struct Case {
    const char* name;
    std::function<void()> answer;
    std::size_t watches;
  };
  const Case cases[] = {
      {"not known",
       [&] {
         api_.answer("watch", {"422 Unprocessable Entity", status(422, "Invalid").dump(),
                               Ending::kClean, ""});
       },
       1},
      {"not allowed",
       [&] {
         api_.answer("watch",
                     {"403 Forbidden", status(403, "Forbidden").dump(), Ending::kClean, ""});
       },
       1},
      {"malformed", [&] { streams("x\n"); }, 1},
      {"never whole",
       [&] {
         for (int i = 0; i < 3; ++i)
           streams(some, i == 0 ? Ending::kCut : Ending::kClean);
       },
       3},
  };
  for (const auto& [name, answer, watches] : cases) {
    SCOPED_TRACE(name);
    lines_.clear();
    const std::size_t before = asked("watch");
    const std::size_t lists = asked("list");
    answer();
    api_.answer("list", {"200 OK", list(5, {object("a", 4)}), Ending::kClean, ""});
    start();
    ASSERT_TRUE(reflector_->wait_for_sync(15s));
    EXPECT_TRUE(eventually([&] { return asked("watch") == before + watches + 1; }));
    EXPECT_THAT(lines(), ElementsAre("add a@4"));
    EXPECT_EQ(asked("list"), lists + 1);
    reflector_.reset();
  }
}

TEST_F(StreamingList, ABusyServerIsAskedForItAgain) {
  api_.answer("watch", {"429 Too Many Requests", "", Ending::kClean, ""});
  streams(event("ADDED", object("a", 3)) + end_of_initial_events(4));
  start();
  ASSERT_TRUE(reflector_->wait_for_sync(15s));
  EXPECT_EQ(asked("list"), 0U);
  EXPECT_THAT(lines(), ElementsAre("add a@3"));
}

}  // namespace
