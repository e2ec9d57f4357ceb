// What the API server may send, and what is answered: bytes in, bytes out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "webhook/reviews.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

// --- What is no review ---

TEST(Review, WhatIsNoReviewIsABadRequest) {
  const json good = envelope(good_pod());
  const auto with = [&](const char* key, const json& value) {
    json body = good;
    body[key] = value;
    return body.dump();
  };
  const auto without = [&](const char* key) {
    json body = good;
    body.erase(key);
    return body.dump();
  };
  const auto with_uid = [&](const json& uid) {
    json body = good;
    body["request"]["uid"] = uid;
    return body.dump();
  };
  const std::string text = good.dump();
  json no_uid = good;
  no_uid["request"].erase("uid");
  const struct {
    const char* name;
    std::string body;
  } cases[] = {
      {"nothing", ""},
      {"a space", " "},
      {"a word", "hello"},
      {"a zero byte", std::string(1, '\0')},
      {"binary", "\x16\x03\x01\x02\xff\xfe"},
      {"a form", "a=b&c=d"},
      {"yaml", "apiVersion: admission.k8s.io/v1\nkind: AdmissionReview\n"},
      {"null", "null"},
      {"a number", "1e999"},
      {"a string", R"("AdmissionReview")"},
      {"an array", "[" + text + "]"},
      {"an empty object", "{}"},
      {"two reviews", text + text},
      {"a review and a word", text + " x"},
      {"no UTF-8", with("kind", "X").insert(2, "\xff\xfe")},
      {"no UTF-8 in the pod", std::string(text).replace(text.find("fix-login"), 1, "\xc3")},
      {"overlong UTF-8", std::string(text).replace(text.find("fix-login"), 2, "\xc0\xaf")},
      {"a raw control character", std::string(text).replace(text.find("fix-login"), 1, "\x01")},
      {"half a surrogate pair", std::string(text).replace(text.find("fix-login"), 1, "\\ud800")},
      {"no apiVersion", without("apiVersion")},
      {"no kind", without("kind")},
      {"no request", without("request")},
      {"v1beta1", with("apiVersion", "admission.k8s.io/v1beta1")},
      {"another group", with("apiVersion", "v1")},
      {"apiVersion as a number", with("apiVersion", 1)},
      {"another kind", with("kind", "ConversionReview")},
      {"kind in lower case", with("kind", "admissionreview")},
      {"a response", with("request", nullptr)},
      {"request as text", with("request", "x")},
      {"request as an array", with("request", json::array({good["request"]}))},
      {"an empty request", with("request", json::object())},
      {"request twice", R"({"request":{"uid":"x"},)" + text.substr(1)},
      {"kind twice", R"({"kind":"AdmissionReview",)" + text.substr(1)},
      {"no uid", no_uid.dump()},
      {"an empty uid", with_uid("")},
      {"a number as uid", with_uid(7)},
      {"null as uid", with_uid(nullptr)},
      {"an endless uid", with_uid(std::string(10'000, 'a'))},
  };
  for (const auto& c : cases) {
    const Outcome outcome = ask_text(c.body);
    EXPECT_EQ(outcome.status, 400) << c.name;
    EXPECT_FALSE(outcome.allowed) << c.name;
    EXPECT_THAT(outcome.body, HasSubstr("not an AdmissionReview: ")) << c.name;
    EXPECT_LT(outcome.body.size(), 300U) << c.name;  // nothing of the body comes back
  }
}

// Which of the two the API server means could only be guessed: of a member that is there twice, the
// one that is judged may not be the one that is stored.
TEST(Review, AMemberThatIsThereTwiceIsABadRequest) {
  json good = envelope(good_pod(), "UPDATE", good_pod(), "resize");
  good["request"]["options"] = json::object();
  good["request"]["userInfo"] = {
      {"username", "jane"}, {"uid", "7"}, {"groups", {"g"}}, {"extra", json::object()}};
  ASSERT_EQ(ask(good).status, 200);
  // `key` of the object at `pointer` once more, before or after itself.
  const auto doubled = [&](const json::json_pointer& pointer, const std::string& key,
                           const std::string& value, bool first) {
    json body = good;
    json& object = body[pointer];
    const std::string other = "\"" + key + "\":" + value;
    std::string text = object.dump();
    text.insert(first ? 1 : text.size() - 1, first ? other + "," : "," + other);
    object = "THE OBJECT";
    std::string out = body.dump();
    return out.replace(out.find("\"THE OBJECT\""), 12, text);
  };
  int tried = 0;
  for (const char* pointer : {"/request", "/request/userInfo", "/request/resource"}) {
    const json::json_pointer at(pointer);
    for (const auto& [key, value] : good[at].items()) {
      for (const std::string& other : {value.dump(), std::string("null"), std::string("[]")}) {
        for (const bool first : {true, false}) {
          const Outcome outcome = ask_text(doubled(at, key, other, first));
          EXPECT_EQ(outcome.status, 400) << pointer << "/" << key << ": " << outcome.body;
          EXPECT_THAT(outcome.body, HasSubstr("." + key + " is there twice"));
          ++tried;
        }
      }
    }
  }
  EXPECT_EQ(tried, 6 * (15 + 4 + 3));
  // However it is spelt; and what nobody reads may be there as often as it likes.
  const json::json_pointer request("/request");
  EXPECT_EQ(ask_text(doubled(request, "\\u0075id", "\"x\"", false)).status, 400);
  std::string unread = doubled(request, "later", "1", false);
  unread.insert(unread.find("\"later\""), "\"later\":2,");
  EXPECT_EQ(ask_text(unread).status, 200);
}

TEST(Review, ATruncatedReviewIsABadRequestWhereverItEnds) {
  const std::string text = envelope(good_pod()).dump();
  for (std::size_t length = 0; length < text.size(); length += 7) {
    // A buffer that ends where the bytes end: a sanitizer sees what reads on.
    const std::vector<char> exact(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_EQ(ask_text({exact.data(), exact.size()}).status, 400) << length;
  }
}

TEST(Review, AnyByteChangedIsJudgedOrRefusedButNeverBreaksTheAnswer) {
  const std::string text = envelope(good_pod()).dump();
  for (std::size_t at = 0; at < text.size(); at += 3) {
    for (const char byte : {'\0', '"', '}', '\xff'}) {
      std::string broken = text;
      broken[at] = byte;
      const Outcome outcome = ask_text(broken);
      EXPECT_TRUE(outcome.status == 200 || outcome.status == 400) << at;
      if (outcome.status == 200) {
        EXPECT_TRUE(json::accept(outcome.body)) << at;
      }
    }
  }
}

TEST(Review, DeepNestingIsABadRequest) {
  for (const std::string_view open : {"[", R"({"a":)"}) {
    for (const std::size_t depth : {std::size_t{200}, std::size_t{1'000'000}}) {
      std::string body;
      for (std::size_t i = 0; i < depth; ++i)
        body += open;
      EXPECT_EQ(ask_text(body).status, 400);
    }
  }
  // Closed in order, deep inside a pod that is good otherwise.
  std::string text = envelope(good_pod()).dump();
  const std::string deep = std::string(500, '[') + std::string(500, ']');
  text.replace(text.find(R"("spec":{)"), 8, R"("spec":{"x":)" + deep + ",");
  EXPECT_EQ(ask_text(text).status, 400);
}

TEST(Review, TenMegabytesAreReadOrRefused) {
  constexpr std::size_t kSize = 10 << 20;
  EXPECT_EQ(ask_text(std::string(kSize, 'x')).status, 400);
  EXPECT_EQ(ask_text(std::string(kSize, ' ')).status, 400);
  EXPECT_EQ(ask_text("\"" + std::string(kSize, 'a')).status, 400);
  json big = good_pod();
  big["metadata"]["annotations"]["note"] = std::string(kSize, 'n');
  expect_allowed(ask(envelope(big)), "compliant");
  policy::testing::apply(big, weakened_pods()[0].change);
  EXPECT_THAT(message_of(ask(envelope(big))), HasSubstr("[not-privileged]"));
  // The thread's parser is still good for an ordinary one.
  expect_allowed(ask(envelope(good_pod())), "compliant");
}

// --- Requests that are no business of the webhook: denied, and told why ---

TEST(Review, WhatIsNotUnderstoodIsDenied) {
  const auto with = [](const char* pointer, const json& value) {
    json body = envelope(good_pod());
    body[json::json_pointer(pointer)] = value;
    return body;
  };
  const struct {
    const char* name;
    json body;
    const char* says;
  } cases[] = {
      {"deployments", with("/request/resource/resource", "deployments"), "deployments"},
      {"pods of another group", with("/request/resource/group", "metrics.k8s.io"),
       "is not judged here"},
      {"no resource", with("/request/resource", nullptr), "names no resource"},
      {"a group that moves the cursor", with("/request/resource/group", "a\u202e\u001b[2J"),
       "pods of a??[2J is not judged here"},
      {"resource as text", with("/request/resource", "pods"), "is not judged here"},
      {"an endless resource", with("/request/resource/resource", std::string(1 << 20, 'r')),
       "is not judged here"},
      {"pods/exec", with("/request/subResource", "exec"), "the operation \"CREATE\""},
      {"pods/status", with("/request/subResource", "status"), "the operation \"CREATE\""},
      {"an endless subresource", with("/request/subResource", std::string(1 << 20, 's')),
       "is not judged here"},
      {"a broken code point at the cut",
       with("/request/operation", std::string(63, 'O') + "\xc3\xa9\xc3\xa9"), "the operation"},
      {"DELETE", envelope(nullptr, "DELETE", good_pod()), R"(the operation "DELETE")"},
      {"CONNECT", envelope(good_pod(), "CONNECT"), R"(the operation "CONNECT")"},
      {"no operation", with("/request/operation", nullptr), "the operation"},
      {"create in lower case", with("/request/operation", "create"), "the operation"},
      {"an operation that breaks lines", with("/request/operation", "X\"\n\t\x01"),
       "the operation"},
      {"no object", with("/request/object", nullptr), "holds no object"},
      {"object as text", with("/request/object", "pod"), "holds no object"},
      {"object as a list", with("/request/object", json::array({good_pod()})), "holds no object"},
      {"update without the old", envelope(good_pod(), "UPDATE"), "without the old object"},
      {"update of text", envelope(good_pod(), "UPDATE", "pod"), "without the old object"},
  };
  for (const auto& c : cases) {
    const Outcome outcome = ask(c.body);
    const std::string message = message_of(outcome);
    EXPECT_FALSE(outcome.allowed) << c.name;
    EXPECT_THAT(message, HasSubstr("Palisade denies what it does not understand")) << c.name;
    EXPECT_THAT(message, HasSubstr(c.says)) << c.name;
    EXPECT_LT(outcome.body.size(), 1000U) << c.name;
  }
}

// --- Verdicts ---

TEST(Review, TheGoodPodPasses) {
  const Outcome outcome = ask(envelope(good_pod()));
  expect_allowed(outcome, "compliant: the label palisade.dev/agent is set");
  EXPECT_TRUE(outcome.is_agent);
  EXPECT_EQ(outcome.operation, "CREATE");
  EXPECT_THAT(outcome.denied_controls, IsEmpty());
}

TEST(Review, EachWeakenedPodIsDeniedByTheControlThatItBreaks) {
  ASSERT_GE(weakened_pods().size(), 10U);
  for (const Weakened& weak : weakened_pods()) {
    const Outcome outcome = ask(envelope(changed(good_pod(), weak.change)));
    const json response = response_of(outcome);
    EXPECT_FALSE(outcome.allowed) << weak.name;
    EXPECT_THAT(outcome.denied_controls, UnorderedElementsAre(weak.control)) << weak.name;
    const std::string message = response["status"].value("message", "");
    EXPECT_THAT(message, HasSubstr("Palisade refuses this Aider pod (the label")) << weak.name;
    EXPECT_THAT(message, HasSubstr("[" + std::string(weak.control) + "]")) << weak.name;
    EXPECT_THAT(message, HasSubstr(weak.field)) << weak.name;
    EXPECT_THAT(message, HasSubstr("why: ")) << weak.name;
    EXPECT_THAT(message, HasSubstr("fix: ")) << weak.name;
    ASSERT_TRUE(response["status"].contains("details")) << weak.name;
    const json cause = response["status"]["details"]["causes"].at(0);
    EXPECT_EQ(cause["field"], weak.field) << weak.name;
    EXPECT_THAT(cause["message"].get<std::string>(), HasSubstr(weak.control)) << weak.name;
  }
}

TEST(Review, AllFindingsStandInOneMessage) {
  json pod = good_pod();
  for (const Weakened& weak : weakened_pods())
    policy::testing::apply(pod, weak.change);
  const Outcome outcome = ask(envelope(pod));
  const json response = response_of(outcome);
  const std::string message = response["status"].value("message", "");
  std::vector<std::string_view> controls;
  for (const Weakened& weak : weakened_pods()) {
    EXPECT_THAT(message, HasSubstr("[" + std::string(weak.control) + "]"));
    EXPECT_THAT(message, HasSubstr("\n  " + std::string(weak.field) + ": "));
    controls.push_back(weak.control);
  }
  EXPECT_THAT(outcome.denied_controls, ::testing::UnorderedElementsAreArray(controls));
  EXPECT_EQ(response["status"]["details"]["causes"].size(), weakened_pods().size());
  EXPECT_LT(message.size(), 17U * 1024);
}

TEST(Review, HundredsOfWeakContainersStillMakeAReadableAnswer) {
  for (const int count : {400, 4000}) {
    json pod = good_pod();
    for (int i = 0; i < count; ++i)
      pod["spec"]["containers"].push_back({{"name", "c" + std::to_string(i)}, {"image", "x"}});
    const Outcome outcome = ask(envelope(pod));
    const std::string message = message_of(outcome);
    EXPECT_FALSE(outcome.allowed) << count;
    EXPECT_THAT(message, HasSubstr(count > 500 ? "at most 500 containers" : " more")) << count;
    EXPECT_LT(message.size(), 17U * 1024) << count;
    EXPECT_LT(outcome.body.size(), 1024U * 1024) << count;
  }
}

TEST(Review, WhatAnAuthorWritesCannotForgeTheMessage) {
  json pod = good_pod();
  pod["spec"]["securityContext"]["seccompProfile"]["type"] =
      "\x1b[2J\r\nallowed: true\"},\"allowed\":true,\"x\":{\"";
  const Outcome outcome = ask(envelope(pod));
  const std::string message = message_of(outcome);
  EXPECT_FALSE(outcome.allowed);
  EXPECT_THAT(message, Not(HasSubstr("\x1b")));
  EXPECT_THAT(message, Not(HasSubstr("\nallowed")));
}

TEST(Review, ValuesAreShownAsJsonAndOnlyBegunWhereTheyAreLong) {
  const json short_values[] = {"a\"b\\c\n\t\b\f\r\x01\x1f\x7f é€😀",
                               1.5,
                               -3,
                               true,
                               json::array(),
                               json{{"a", {1, nullptr, "x"}}, {"b\"", json::object()}}};
  for (const json& value : short_values) {
    json pod = good_pod();
    pod["spec"]["hostPID"] = value;
    const json response = response_of(ask(envelope(pod)));
    std::string shown = value.dump();
    if (const auto at = shown.find('\x7f'); at != std::string::npos)
      shown.replace(at, 1, "\\u007f");
    EXPECT_THAT(response["status"]["details"]["causes"][0].value("message", ""),
                HasSubstr("] is " + shown + ": "));
  }
  json deep = 1;
  for (int i = 0; i < 100; ++i)
    deep = json::array({deep});
  const json long_values[] = {std::string(1'000'000, 'x'), std::string(300'000, '\x01'),
                              json(std::vector<int>(300'000, 7)), deep,
                              json{{std::string(1'000'000, 'k'), 1}}};
  for (const json& value : long_values) {
    json pod = good_pod();
    pod["spec"]["hostPID"] = value;
    const json response = response_of(ask(envelope(pod)));
    const std::string message = response["status"]["details"]["causes"][0].value("message", "");
    EXPECT_THAT(message, HasSubstr("] is " + value.dump().substr(0, 150)));
    EXPECT_LT(message.size(), 500U);
  }
}

TEST(Review, KeysAreNotRepeatedInTheAnswer) {
  json pod = good_pod();
  pod["spec"]["containers"][0]["env"].push_back(
      {{"name", "OPENAI_API_KEY"}, {"value", "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"}});
  const Outcome outcome = ask(envelope(pod));
  EXPECT_THAT(outcome.denied_controls, ::testing::Contains("no-llm-key-by-value"));
  EXPECT_THAT(outcome.body, Not(HasSubstr("abcdefghijklmnop")));
}

TEST(Review, OtherPodsPassUntouched) {
  for (const char* operation : {"CREATE", "UPDATE"}) {
    const json old_pod = std::string_view(operation) == "UPDATE" ? nginx_pod() : json();
    const Outcome outcome = ask(envelope(nginx_pod(), operation, old_pod));
    expect_allowed(outcome, "not an Aider pod");
    EXPECT_FALSE(outcome.is_agent);
    const json response = response_of(outcome);
    EXPECT_FALSE(response.contains("patch"));
    EXPECT_FALSE(response.contains("warnings"));
  }
  json weak = nginx_pod();
  weak["spec"]["hostNetwork"] = true;
  weak["spec"]["containers"][0]["securityContext"] = {{"privileged", true}};
  expect_allowed(ask(envelope(weak)), "not an Aider pod");
}

TEST(Review, DryRunIsJudgedAlike) {
  for (const bool dry : {true, false}) {
    json good = envelope(good_pod());
    json weak = envelope(changed(good_pod(), weakened_pods()[0].change));
    good["request"]["dryRun"] = weak["request"]["dryRun"] = dry;
    EXPECT_TRUE(ask(good).allowed);
    EXPECT_FALSE(ask(weak).allowed);
  }
}

TEST(Review, TheUidIsEchoedByteForByte) {
  for (const std::string uid : {"a", "705ab4f5-6393-11e8-b7cc-42010a800002", "\"\\\n\x01é€😀"}) {
    json body = envelope(good_pod());
    body["request"]["uid"] = uid;
    EXPECT_EQ(json::parse(ask(body).body)["response"]["uid"], uid);
    body["request"]["object"]["spec"]["hostPID"] = true;
    EXPECT_EQ(json::parse(ask(body).body)["response"]["uid"], uid);
  }
}

}  // namespace
}  // namespace palisade::webhook::testing
