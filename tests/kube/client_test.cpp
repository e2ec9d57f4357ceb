// What the client asks for, byte by byte, and what it makes of any answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/client.h>

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
using kube::Resource;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;
namespace resources = kube::resources;

class ClientTest : public testing::Test {
 protected:
  void answers(const std::string& body, const std::string& code = "200 OK",
               const std::string& headers = "") {
    api_.answer("list", {code, body, Ending::kClean, headers});
  }
  kube::Result<Json> get() { return client_->get(resources::kPods, "n", "p"); }

  Api api_;
  std::shared_ptr<kube::Client> client_ = api_.client();
};

TEST_F(ClientTest, ErrorCarriesStatusReasonAndCauses) {
  Json refused = status(422, "Invalid", "Pod \"p\" is invalid");
  refused["details"] = {
      {"name", "p"},
      {"causes",
       {{{"reason", "FieldValueRequired"}, {"message", "Required value"}, {"field", "spec.a"}},
        {{"reason", "FieldValueInvalid"}, {"message", "must be positive"}, {"field", "spec.b"}},
        {{"message", "no field"}}}}};
  answers(refused.dump(), "422 Unprocessable Entity");
  const auto result = get();
  ASSERT_FALSE(result);
  const kube::Error& error = result.error();
  EXPECT_EQ(error.code, 422);
  EXPECT_EQ(error.reason, "Invalid");
  EXPECT_TRUE(error.is_invalid());
  EXPECT_FALSE(error.is_retriable());
  ASSERT_EQ(error.causes.size(), 3U);
  EXPECT_EQ(error.causes[0].reason, "FieldValueRequired");
  EXPECT_EQ(error.causes[1].field, "spec.b");
  EXPECT_EQ(error.text(),
            "422 Invalid: Pod \"p\" is invalid (spec.a: Required value; spec.b: must be positive; "
            "no field)");
}

TEST_F(ClientTest, ConflictsAreToldApart) {
  answers(status(409, "AlreadyExists").dump(), "409 Conflict");
  answers(status(409, "Conflict").dump(), "409 Conflict");
  const auto exists = get();
  const auto conflict = get();
  ASSERT_TRUE(!exists && !conflict);
  EXPECT_TRUE(exists.error().is_already_exists() && !exists.error().is_conflict());
  EXPECT_TRUE(conflict.error().is_conflict() && !conflict.error().is_already_exists());
}

TEST_F(ClientTest, RetryAfterIsReadWhereverItStands) {
  Json slow = status(429, "TooManyRequests");
  slow["details"] = {{"retryAfterSeconds", 3}};
  Json odd = slow;
  odd["details"]["retryAfterSeconds"] = "soon";
  struct Case {
    std::string headers;
    std::string body;
    std::optional<std::chrono::seconds> expected;
  };
  const Case cases[] = {{"Retry-After: 7\r\n", "slow down", 7s},
                        {"", slow.dump(), 3s},
                        {"Retry-After: 9\r\n", slow.dump(), 9s},
                        {"Retry-After: 999999\r\n", "", 3600s},
                        {"Retry-After: -1\r\n", "", std::nullopt},
                        {"Retry-After: 5x\r\n", "", std::nullopt},
                        {"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", "", std::nullopt},
                        {"", odd.dump(), std::nullopt},
                        {"", "", std::nullopt}};
  for (const auto& [headers, body, expected] : cases) {
    SCOPED_TRACE(headers + body);
    answers(body, "429 Too Many Requests", headers);
    const auto result = get();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, 429);
    EXPECT_TRUE(result.error().is_retriable());
    EXPECT_EQ(result.error().retry_after, expected);
  }
  EXPECT_EQ(api_.asked().size(), std::size(cases)) << "the caller decides, nothing is repeated";
}

TEST_F(ClientTest, AnyErrorBodyIsAnErrorWithItsStatus) {
  const std::string bodies[] = {
      "",
      "<html>Bad Gateway</html>",
      "null",
      "[]",
      "{\"kind\":\"Status\"}",
      R"({"kind":"Status","reason":7,"message":[],"details":"x","code":200})",
      R"({"kind":"Status","details":{"causes":[1,null,{"field":{}}]}})",
      std::string(100'000, 'x'),
      std::string("\xff\xfe\0", 3),
      std::string(100'000, '[')};
  for (const std::string& body : bodies) {
    SCOPED_TRACE(body.substr(0, 60));
    answers(body, "502 Bad Gateway");
    const auto result = get();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, 502);
    EXPECT_LE(result.error().text().size(), 1000U);
  }
}

TEST_F(ClientTest, BodyThatIsNoObjectIsMalformed) {
  for (const std::string body :
       {"", "null", "[]", "7", "\"x\"", "{", "{\"a\":1}}", "{\"a\":\"\xff\"}", "garbage", "{}{}"}) {
    SCOPED_TRACE(body);
    answers(body);
    const auto result = get();
    ASSERT_FALSE(result) << result->dump();
    EXPECT_EQ(result.error().reason, kube::kTransportReasonProtocol);
  }
  answers(std::string(200'000, '['));
  EXPECT_FALSE(get());
}

TEST_F(ClientTest, ListThatIsNoListIsMalformed) {
  for (const std::string body :
       {"{}", R"({"items":[]})", R"({"metadata":7,"items":[]})", R"({"metadata":{},"items":{}})",
        R"({"metadata":{},"items":[7]})", R"({"metadata":{},"items":[{},null]})"}) {
    SCOPED_TRACE(body);
    answers(body);
    const auto result = client_->list_page(resources::kPods, {});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().reason, kube::kTransportReasonProtocol);
  }
  answers(R"({"metadata":{"resourceVersion":"5"},"items":null})");
  const auto empty = client_->list_page(resources::kPods, {});
  ASSERT_TRUE(empty);
  EXPECT_THAT(empty->items, IsEmpty());
  EXPECT_EQ(empty->resource_version, "5");
}

TEST_F(ClientTest, ListFollowsItsPages) {
  answers(list(9, {object("a", 1)}, "t/1&x"));
  answers(list(9, {object("b", 2)}, "t2"));
  answers(list(9, {object("c", 3)}));
  kube::ListOptions options;
  options.ns = "n";
  options.label_selector = "a=b,c in (d, e)";
  options.resource_version = "4";
  options.resource_version_match = "NotOlderThan";
  options.limit = 2;
  const auto result = client_->list(resources::kPods, options);
  ASSERT_TRUE(result) << result.error().text();
  ASSERT_EQ(result->items.size(), 3U);
  EXPECT_EQ(result->items[2].at("kind"), "Pod");
  EXPECT_EQ(result->items[2].at("apiVersion"), "v1");
  EXPECT_EQ(result->resource_version, "9");
  const std::string path =
      "list /api/v1/namespaces/n/pods?labelSelector=a%3Db%2Cc%20in%20%28d%2C%20e%29&limit=2";
  EXPECT_THAT(api_.asked(),
              ElementsAre(path + "&resourceVersion=4&resourceVersionMatch=NotOlderThan",
                          path + "&continue=t%2F1%26x", path + "&continue=t2"));
}

TEST_F(ClientTest, PageThatIsGoneOrDoesNotAdvanceIsAnError) {
  answers(list(9, {object("a", 1)}, "t"));
  answers(status(410, "Expired").dump(), "410 Gone");
  const auto gone = client_->list(resources::kPods, {});
  ASSERT_FALSE(gone);
  EXPECT_TRUE(gone.error().is_gone());
  answers(list(9, {object("a", 1)}, "t"));
  answers(list(9, {object("a", 1)}, "t"));
  const auto stuck = client_->list(resources::kPods, {});
  ASSERT_FALSE(stuck);
  EXPECT_EQ(stuck.error().reason, kube::kTransportReasonProtocol);
}

TEST_F(ClientTest, PathsAreEncoded) {
  const Resource workspaces{"palisade.dev", "v1alpha1", "agentworkspaces", "AgentWorkspace", true};
  struct Case {
    Resource resource;
    const char* ns;
    const char* name;
    const char* target;
  };
  for (const auto& [resource, ns, name, target] :
       {Case{resources::kPods, "n", "p", "/api/v1/namespaces/n/pods/p"},
        Case{resources::kNodes, "", "node-1", "/api/v1/nodes/node-1"},
        Case{workspaces, "team", "fix",
             "/apis/palisade.dev/v1alpha1/namespaces/team/agentworkspaces/fix"},
        Case{resources::kPods, "a/b", "../../secrets?x=1#y",
             "/api/v1/namespaces/a%2Fb/pods/..%2F..%2Fsecrets%3Fx%3D1%23y"},
        Case{resources::kPods, "n", "\xc3\xbc\r\nX: y",
             "/api/v1/namespaces/n/pods/%C3%BC%0D%0AX%3A%20y"},
        Case{resources::kCustomResourceDefinitions, "", "system:a",
             "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/system%3Aa"}}) {
    answers("{}");
    EXPECT_TRUE(client_->get(resource, ns, name));
    EXPECT_EQ(api_.asked().back(), std::string("list ") + target);
  }
}

// Without a name the path is the collection's.
TEST_F(ClientTest, CallWithoutANameNeverLeaves) {
  for (const char* name : {"", ".", ".."}) {
    EXPECT_EQ(client_->get(resources::kPods, "n", name).error().code, 400);
    EXPECT_EQ(client_->remove(resources::kPods, "n", name).error().code, 400);
    EXPECT_EQ(client_->update(resources::kPods, "n", name, {}).error().code, 400);
    EXPECT_EQ(client_->patch(resources::kPods, "n", name, kube::PatchType::kMerge, {}).error().code,
              400);
    EXPECT_EQ(client_->apply(resources::kPods, "n", name, {}, {}).error().code, 400);
    EXPECT_EQ(client_->remove(resources::kPods, name, "p").error().code, 400);
    EXPECT_EQ(client_->create(resources::kPods, name, {}).error().code, 400);
  }
  EXPECT_THAT(api_.asked(), IsEmpty());
}

TEST_F(ClientTest, WritesSayWhatTheyAre) {
  for (const char* method : {"POST", "PUT", "PATCH", "PATCH", "PATCH", "PATCH", "DELETE"})
    api_.answer(method, {"200 OK", "{}"});
  const Json body{{"a", 1}};
  kube::ApplyOptions apply;
  apply.field_manager = "palisade operator";
  apply.subresource = "status";
  apply.dry_run = true;
  kube::DeleteOptions remove;
  remove.uid = "u";
  remove.resource_version = "5";
  remove.propagation = "Foreground";
  remove.grace_period_seconds = 0;
  EXPECT_TRUE(client_->create(resources::kPods, "n", body));
  EXPECT_TRUE(client_->update(resources::kPods, "n", "p", body, "status"));
  EXPECT_TRUE(client_->patch(resources::kPods, "n", "p", kube::PatchType::kJson, body));
  EXPECT_TRUE(client_->patch(resources::kPods, "n", "p", kube::PatchType::kMerge, body));
  EXPECT_TRUE(client_->patch(resources::kPods, "n", "p", kube::PatchType::kStrategicMerge, body));
  EXPECT_TRUE(client_->apply(resources::kPods, "n", "p", body, apply));
  EXPECT_TRUE(client_->remove(resources::kPods, "n", "p", remove));
  const std::string pods = "/api/v1/namespaces/n/pods";
  EXPECT_THAT(api_.asked(),
              ElementsAre("POST " + pods, "PUT " + pods + "/p/status", "PATCH " + pods + "/p",
                          "PATCH " + pods + "/p", "PATCH " + pods + "/p",
                          "PATCH " + pods +
                              "/p/status?fieldManager=palisade%20operator&force=true&dryRun=All",
                          "DELETE " + pods + "/p"));
  const char* types[] = {"application/json",
                         "application/json",
                         "application/json-patch+json",
                         "application/merge-patch+json",
                         "application/strategic-merge-patch+json",
                         "application/apply-patch+yaml",
                         "application/json"};
  const auto texts = api_.texts();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_THAT(texts[i], HasSubstr(std::string("\r\nContent-Type: ") + types[i] + "\r\n"));
    if (i < 6) {
      EXPECT_THAT(texts[i], testing::EndsWith("\r\n\r\n{\"a\":1}"));
    }
  }
  EXPECT_EQ(Json::parse(texts[6].substr(texts[6].find("\r\n\r\n"))),
            Json::parse(R"({"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0,
              "preconditions":{"uid":"u","resourceVersion":"5"},"propagationPolicy":"Foreground"})"));
}

TEST_F(ClientTest, BytesThatAreNoUtf8AreSentAsReplacements) {
  api_.answer("POST", {"200 OK", "{}"});
  EXPECT_TRUE(client_->create(resources::kPods, "n", {{"a", "x\xff"}}));
  EXPECT_THAT(api_.texts()[0], testing::EndsWith("{\"a\":\"x\xef\xbf\xbd\"}"));
}

TEST_F(ClientTest, TokenIsAskedForEachTimeAndNeverShown) {
  kube::Config config;
  config.server = api_.server().url();
  config.path_prefix = "/clusters/c";
  int count = 0;
  config.bearer_token = [&count] {
    return count > 1 ? "a\r\nX: secret" : "t" + std::to_string(count++);
  };
  const auto client = kube::Client::connect(config, kube::Client::TransportKind::kBeast);
  for (int i = 0; i < 2; ++i) {
    answers("{}");
    EXPECT_TRUE(client->get(resources::kPods, "n", "p"));
    EXPECT_THAT(api_.texts().back(),
                HasSubstr("\r\nAuthorization: Bearer t" + std::to_string(i) + "\r\n"));
    EXPECT_EQ(api_.asked().back(), "list /clusters/c/api/v1/namespaces/n/pods/p");
  }
  const auto refused = client->get(resources::kPods, "n", "p");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text(), Not(HasSubstr("secret")));
  EXPECT_EQ(api_.asked().size(), 2U);
}

struct Watched {
  kube::Result<void> result;
  std::vector<std::string> events;
};

Watched watch(const kube::Client& client, std::size_t most = 1000) {
  Watched out;
  out.result = client.watch(
      resources::kPods, {},
      [&](const kube::WatchEvent& event) {
        const char* names[] = {"added", "modified", "deleted", "bookmark"};
        EXPECT_EQ(event.object.value("kind", ""), "Pod");
        out.events.push_back(std::string(names[static_cast<int>(event.type)]) + " " +
                             event.object.at("metadata").at("resourceVersion").get<std::string>());
        return out.events.size() < most;
      },
      {});
  return out;
}

TEST_F(ClientTest, WatchDeliversEventsInOrder) {
  const std::string all = event("ADDED", object("a", 1)) + "\n" +
                          event("MODIFIED", object("a", 2)) + bookmark(3) +
                          event("DELETED", object("a", 4));
  api_.answer("watch", {"200 OK", all});
  const auto whole = watch(*client_);
  EXPECT_TRUE(whole.result);
  EXPECT_THAT(whole.events, ElementsAre("added 1", "modified 2", "bookmark 3", "deleted 4"));
  api_.answer("watch", {"200 OK", all, Ending::kHang});
  const auto some = watch(*client_, 2);
  EXPECT_TRUE(some.result);
  EXPECT_THAT(some.events, ElementsAre("added 1", "modified 2"));
}

TEST_F(ClientTest, WatchErrorsAreWhatTheyAre) {
  const std::string one = event("ADDED", object("a", 1));
  struct Case {
    fake_api::Answer answer;
    int code;
    const char* reason;
  };
  const Case cases[] = {
      {{"200 OK", one + event("ERROR", status(410, "Expired"))}, 410, "Expired"},
      {{"200 OK", one + event("ERROR", {{"code", 200}})}, 500, ""},
      {{"200 OK", one + event("ERROR", {{"code", "x"}})}, 500, ""},
      {{"200 OK", one + "garbage\n"}, 0, kube::kTransportReasonProtocol},
      {{"200 OK", one + event("OTHER", object("b", 2))}, 0, kube::kTransportReasonProtocol},
      {{"200 OK", one + R"({"type":"ADDED","object":{}})" + "\n"},
       0,
       kube::kTransportReasonProtocol},
      {{"200 OK", one + "{\"type\":\"ADD"}, 0, kube::kTransportReasonClosed},
      {{"200 OK", one, Ending::kCut}, 0, kube::kTransportReasonClosed},
      {{"200 OK", one + std::string(17UL * 1024 * 1024, 'x')}, 0, kube::kTransportReasonTooLarge},
  };
  for (const auto& [answer, code, reason] : cases) {
    SCOPED_TRACE(answer.body.substr(one.size(), 80));
    api_.answer("watch", answer);
    const auto got = watch(*client_);
    EXPECT_THAT(got.events, ElementsAre("added 1"));
    ASSERT_FALSE(got.result);
    EXPECT_EQ(got.result.error().code, code);
    EXPECT_EQ(got.result.error().reason, reason);
  }
  api_.answer("watch", {"410 Gone", status(410, "Gone").dump()});
  EXPECT_EQ(watch(*client_).result.error().code, 410);
}

TEST_F(ClientTest, DeadlineEndsACallThatHangs) {
  api_.answer("list", {"200 OK", "", Ending::kHang});
  const auto result = api_.client(200ms)->get(resources::kPods, "n", "p");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason, kube::kTransportReasonTimeout);
  EXPECT_TRUE(result.error().is_retriable());
}

}  // namespace
