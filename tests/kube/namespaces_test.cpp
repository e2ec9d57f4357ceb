// A reflector of given namespaces: one list and one watch for each, one cache, one handler, and
// nobody waits for a namespace that cannot be watched.
#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/reflector.h>

#include "kube/fake_api.h"

namespace {

using namespace std::chrono_literals;
using fake_api::Api;
using fake_api::Ending;
using fake_api::event;
using fake_api::Json;
using fake_api::list;
using fake_api::status;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAreArray;
using Clock = std::chrono::steady_clock;
using Lines = std::vector<std::string>;

bool eventually(const std::function<bool()>& what) {
  for (const auto deadline = Clock::now() + 15s; Clock::now() < deadline;
       std::this_thread::sleep_for(2ms)) {
    if (what()) return true;
  }
  return what();
}

Json in(const std::string& ns, const std::string& name, int version) {
  Json out = fake_api::object(name, version, "uid-" + ns + "-" + name);
  out["metadata"]["namespace"] = ns;
  return out;
}

std::string path(const std::string& ns) {
  return "/api/v1/namespaces/" + ns + "/configmaps";
}

class Namespaces : public testing::Test {
 protected:
  ~Namespaces() override { reflector_.reset(); }

  void start(std::vector<std::string> namespaces,
             const kube::Resource& resource = kube::resources::kConfigMaps) {
    kube::ReflectorOptions options;
    options.namespaces = std::move(namespaces);
    options.backoff_initial = 5ms;
    options.backoff_max = 20ms;
    options.poll = 10ms;
    kube::EventHandler handler;
    handler.on_add = [this](const kube::ObjectPtr& o) { note("add", o); };
    handler.on_update = [this](const kube::ObjectPtr&, const kube::ObjectPtr& o) {
      note("update", o);
    };
    handler.on_delete = [this](const kube::ObjectPtr& o) { note("delete", o); };
    reflector_ = std::make_unique<kube::Reflector>(api_.client(), resource, options, handler);
    reflector_->start();
  }
  void note(const std::string& what, const kube::ObjectPtr& object) {
    EXPECT_FALSE(told_.exchange(true)) << "two at once";
    std::this_thread::sleep_for(1ms);
    {
      const std::scoped_lock lock(mutex_);
      lines_.push_back(what + " " + kube::object_key(*object) + "@" +
                       object->at("metadata").at("resourceVersion").get<std::string>());
    }
    told_ = false;
  }
  Lines lines() {
    const std::scoped_lock lock(mutex_);
    return lines_;
  }
  void lists(const std::string& ns, const std::string& body, const std::string& status = "200 OK") {
    api_.answer("list " + path(ns), {status, body});
  }
  void watches(const std::string& ns, const std::string& body, Ending ending = Ending::kHang) {
    api_.answer("watch " + path(ns), {"200 OK", body, ending});
  }
  // How often that was asked for.
  std::size_t asked(const std::string& what) {
    const auto all = api_.asked();
    return static_cast<std::size_t>(
        std::ranges::count_if(all, [&](const std::string& one) { return one.starts_with(what); }));
  }

  Api api_;
  std::atomic<bool> told_ = false;
  std::mutex mutex_;
  Lines lines_;
  std::unique_ptr<kube::Reflector> reflector_;
};

TEST_F(Namespaces, EachIsListedAndWatchedAndOneCacheHasThemAll) {
  Lines wanted;
  for (const std::string ns : {"a", "b", "c"}) {
    lists(ns, list(10, {in(ns, "x", 1), in(ns, "y", 2)}));
    watches(ns, event("MODIFIED", in(ns, "x", 11)) + event("DELETED", in(ns, "y", 12)));
    for (const char* line : {"add a/x@1", "add a/y@2", "update a/x@11", "delete a/y@12"}) {
      wanted.emplace_back(line);
      wanted.back().replace(wanted.back().find('/') - 1, 1, ns);
    }
  }
  start({"a", "b", "c", "a"});
  ASSERT_TRUE(reflector_->wait_for_sync(15s));
  EXPECT_TRUE(eventually([&] { return lines().size() >= 12; }));
  EXPECT_THAT(lines(), UnorderedElementsAreArray(wanted));
  EXPECT_EQ(reflector_->cache().size(), 3U);
  EXPECT_TRUE(reflector_->cache().get("b", "x"));
  // Nothing was asked of all namespaces, nor of one twice.
  const auto all = api_.asked();
  EXPECT_EQ(all.size(), 6U);
  for (const std::string ns : {"a", "b", "c"}) {
    EXPECT_EQ(asked("list " + path(ns) + "?"), 1U);
    EXPECT_EQ(asked("watch " + path(ns) + "?"), 1U);
  }
}

// A fresh list of one namespace says nothing of the others.
TEST_F(Namespaces, ARelistTakesAwayWhatIsGoneInItsOwnNamespace) {
  lists("b", list(10, {in("b", "x", 1)}));
  watches("a", event("ERROR", status(410, "Expired")));
  start({"a", "b"});
  ASSERT_TRUE(eventually([&] { return reflector_->has_synced("b"); }));
  // Until now it was answered with errors.
  lists("a", list(10, {in("a", "x", 1)}));
  lists("a", list(20, {in("a", "y", 15)}));
  EXPECT_TRUE(eventually([&] { return lines().size() >= 4; }));
  EXPECT_THAT(lines(), ElementsAre("add b/x@1", "add a/x@1", "delete a/x@20", "add a/y@15"));
  EXPECT_TRUE(reflector_->cache().get("b", "x"));
  EXPECT_FALSE(reflector_->cache().get("a", "x"));
}

TEST_F(Namespaces, OneThatMayNotBeWatchedHoldsUpNoOtherAndIsTriedAgain) {
  const std::string forbidden = status(403, "Forbidden", "configmaps is forbidden").dump();
  for (int i = 0; i < 4; ++i)
    lists("b", forbidden, "403 Forbidden");
  api_.answer("list " + path("b"), {"200 OK", "", Ending::kHang});  // until the test has looked
  lists("a", list(10, {in("a", "x", 1)}));
  start({"a", "b"});
  ASSERT_TRUE(eventually([&] { return asked("list " + path("b") + "?") >= 5; }));
  EXPECT_TRUE(eventually([&] { return reflector_->has_synced("a"); }));
  EXPECT_FALSE(reflector_->has_synced("b"));
  EXPECT_FALSE(reflector_->has_synced("elsewhere"));
  EXPECT_FALSE(reflector_->has_synced());
  EXPECT_FALSE(reflector_->wait_for_sync(10ms));
  EXPECT_TRUE(reflector_->cache().get("a", "x"));
  EXPECT_EQ(reflector_->last_error("a"), "");
  // Which one, what is wrong, and what is to be done.
  for (const std::string& error : {reflector_->last_error(), reflector_->last_error("b")}) {
    EXPECT_THAT(error, HasSubstr("namespace b: 403 Forbidden: configmaps is forbidden"));
    EXPECT_THAT(error,
                HasSubstr("either there is no namespace b, or no RoleBinding in it lets this "
                          "account list and watch configmaps: create what is missing"));
    EXPECT_THAT(error, Not(HasSubstr("namespace a")));
  }
}

TEST_F(Namespaces, OneThatCanBeWatchedLaterIsThereThen) {
  lists("a", list(10, {}));
  lists("b", status(403, "Forbidden").dump(), "403 Forbidden");
  lists("b", list(10, {in("b", "x", 1)}));
  start({"a", "b"});
  EXPECT_TRUE(reflector_->wait_for_sync(15s));
  EXPECT_TRUE(reflector_->has_synced("b"));
  EXPECT_EQ(reflector_->last_error(), "");
  EXPECT_THAT(lines(), ElementsAre("add b/x@1"));
}

// They are in no namespace themselves, so that a Role allows get and no more.
TEST_F(Namespaces, NamespacesThemselvesAreReadByTurns) {
  const auto object = [](const std::string& name, int version) {
    return Json{{"metadata",
                 {{"name", name},
                  {"uid", "uid-" + name},
                  {"resourceVersion", std::to_string(version)},
                  {"labels", {{"version", std::to_string(version)}}}}}}
        .dump();
  };
  const auto reads = [&](const std::string& name, const std::string& body,
                         const std::string& code = "200 OK") {
    api_.answer("list /api/v1/namespaces/" + name, {code, body});
  };
  reads("a", object("a", 1));
  reads("a", object("a", 1));
  reads("a", object("a", 2));
  reads("a", status(404, "NotFound").dump(), "404 Not Found");
  reads("a", object("a", 3));
  api_.answer("list /api/v1/namespaces/a", {"200 OK", "", Ending::kHang});
  reads("b", status(403, "Forbidden").dump(), "403 Forbidden");
  api_.answer("list /api/v1/namespaces/b", {"200 OK", "", Ending::kHang});
  start({"a", "b"}, kube::resources::kNamespaces);
  EXPECT_TRUE(eventually([&] { return lines().size() >= 4; }));
  EXPECT_THAT(lines(), ElementsAre("add a@1", "update a@2", "delete a@2", "add a@3"));
  EXPECT_TRUE(eventually([&] { return !reflector_->last_error("b").empty(); }));
  EXPECT_THAT(reflector_->last_error("b"), HasSubstr("lets this account get namespaces"));
  EXPECT_TRUE(reflector_->has_synced("a"));
  EXPECT_FALSE(reflector_->has_synced("b"));
  const auto a = reflector_->cache().get("", "a");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->at("metadata").at("labels").at("version"), "3");
  EXPECT_EQ(asked("watch"), 0U);
  EXPECT_EQ(asked("list /api/v1/namespaces?"), 0U);
}

TEST_F(Namespaces, WhatIsInNoNamespaceCannotBeKeptToSome) {
  EXPECT_THROW(start({"a"}, kube::resources::kNodes), std::invalid_argument);
  EXPECT_THAT(api_.asked(), IsEmpty());
}

}  // namespace
