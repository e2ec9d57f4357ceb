// auth-provider: oidc of a kubeconfig, with a provider on loopback: used, renewed, written back.
#include "oidc.h"

#include <fstream>
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "kube/config_fixture.h"
#include "kube/identity_provider.h"
#include "kubeconfig_section.h"

namespace {

using namespace std::chrono_literals;
using namespace config_testing;
using Json = nlohmann::json;
using scripted::IdentityProvider;
using scripted::ProviderAnswer;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

class Oidc : public ConfigTest {
 protected:
  using Form = IdentityProvider::Form;

  // Takes each refresh-token once: r0, then r1, and so on; gives tokens of user-1, user-2.
  ProviderAnswer rotate(const Form& form) {
    const std::scoped_lock lock(mutex_);
    if (form.at("refresh_token") != "r" + std::to_string(turn_))
      return {R"({"error":"invalid_grant","error_description":"used\u001b[2J"})",
              "400 Bad Request"};
    ++turn_;
    const std::string next = std::to_string(turn_);
    given_ = id_token_of("user-" + next, 1h);
    return {
        Json{{"id_token", given_}, {"refresh_token", "r" + next}, {"access_token", "a"}}.dump()};
  }

  // The last id-token of rotate().
  std::string given() {
    const std::scoped_lock lock(mutex_);
    return given_;
  }
  void begin_anew() {
    const std::scoped_lock lock(mutex_);
    turn_ = 0;
  }

  // A user of the provider, `more` added to its settings.
  std::string user(const std::string& id_token, const std::string& more = "") {
    return "{auth-provider: {name: oidc, config: {idp-issuer-url: '" + provider_.issuer() +
           "/', client-id: 'kube ctl', idp-certificate-authority-data: " +
           base64(authority().certificate) + ", id-token: '" + id_token + "'" + more + "}}}";
  }
  kube::Config config(const std::string& id_token, const std::string& more = "") {
    auto out = load(kubeconfig("{server: https://a.test}", user(id_token, more)));
    EXPECT_TRUE(out) << out.error().text();
    return out.value_or(kube::Config());
  }
  // Whether obtaining gives what the provider gave last, which may be just now.
  testing::AssertionResult renews(const kube::Config& config) {
    const std::string got = obtained(config);
    if (got == given()) return testing::AssertionSuccess();
    return testing::AssertionFailure() << got << " is not " << given();
  }
  // What obtaining gives: the token, or the error.
  static std::string obtained(const kube::Config& config) {
    const auto got = config.credentials->obtain({});
    return got ? config.bearer_token() : got.error().text();
  }
  // A setting as it stands in the file.
  std::string setting(const std::string& name, const std::string& file = "config") {
    const auto root = kube::read_root(directory_ / file);
    EXPECT_TRUE(root) << root.error().text();
    return root ? kube::text_of(root->node["users"][0]["user"]["auth-provider"]["config"][name])
                : "";
  }
  std::set<std::string> names() {
    std::set<std::string> out;
    for (const auto& one : fs::directory_iterator(directory_))
      out.insert(one.path().filename());
    return out;
  }

  std::mutex mutex_;
  int turn_ = 0;
  std::string given_;
  const std::string expired_ = id_token_of("ann", -1h);
  IdentityProvider provider_{authority(),
                             [this](const std::string&, const Form& form) { return rotate(form); }};
};

TEST_F(Oidc, TokensServeWhileTheyHold) {
  const std::string good = id_token_of("ann?>~", 1h);
  const auto one = config(good, ", refresh-token: r0");
  EXPECT_EQ(obtained(one), good);
  EXPECT_EQ(obtained(one), good);
  // Alone too.
  const auto alone =
      load(kubeconfig("{server: https://a.test}",
                      "{auth-provider: {name: oidc, config: {id-token: " + good + "}}}"));
  ASSERT_TRUE(alone) << alone.error().text();
  EXPECT_EQ(obtained(*alone), good);
  EXPECT_TRUE(provider_.asked().empty());
  // In its last ten seconds it is no longer shown.
  const auto late = config(id_token_of("ann", 9s), ", refresh-token: r0");
  EXPECT_TRUE(renews(late));
  EXPECT_EQ(provider_.asked().size(), 1U);
}

TEST_F(Oidc, SettingsThatCannotServeAreRefusedByField) {
  const std::string issuer = "idp-issuer-url: https://i.test, client-id: c";
  struct Case {
    std::string settings;
    const char* says;
  };
  for (const auto& [settings, says] :
       {Case{"id-token: " + expired_,
             "config.refresh-token is missing, and the id-token has ended"},
        Case{"client-id: c", "config.refresh-token is missing, and so is the id-token"},
        Case{"id-token: a.b", "config.id-token is no token with an end"},
        Case{"id-token: a.%.c", "no token with an end"},
        Case{"id-token: " + id_token("{}"), "no token with an end"},
        Case{"id-token: " + id_token(R"({"exp":"x"})"), "no token with an end"},
        Case{"id-token: " + id_token(R"({"exp":1e300})"), "no token with an end"},
        Case{"id-token: " + id_token(R"({"exp":-1})"), "no token with an end"},
        Case{"refresh-token: r, idp-issuer-url: https://i.test", "config.client-id is missing"},
        Case{"refresh-token: r, client-id: c", "config.idp-issuer-url must be the issuer"},
        Case{"refresh-token: r, client-id: c, idp-issuer-url: i.test", "must begin with https://"},
        Case{"refresh-token: r, " + issuer + ", idp-certificate-authority: none", "cannot be read"},
        Case{"refresh-token: r, " + issuer + ", idp-certificate-authority-data: eA==",
             "idp-certificate-authority-data is not a PEM certificate"}}) {
    const auto refused = load(kubeconfig(
        "{server: https://a.test}", "{auth-provider: {name: oidc, config: {" + settings + "}}}"));
    ASSERT_FALSE(refused) << settings;
    EXPECT_THAT(refused.error().text(), HasSubstr(says));
    EXPECT_THAT(refused.error().text(), HasSubstr("users[u].user.auth-provider.config"));
  }
}

// All else in the file means what it meant, and the file is where and whose it was.
TEST_F(Oidc, EndedTokensAreRenewedAndWrittenBack) {
  write("pki/issuer.pem", authority().certificate);
  const std::string before = R"(# made by hand
apiVersion: v1
kind: Config
current-context: c
preferences: {}
clusters: [{name: k, cluster: {server: "https://a.test"}}]
contexts: [{name: c, context: {cluster: k, user: u}}, {name: d, context: {cluster: k, user: "0"}}]
users:
- name: u
  user:
    auth-provider:
      name: oidc
      config:
        idp-issuer-url: ')" + provider_.issuer() +
                             R"('
        client-id: a&b
        client-secret: "12 %3"
        idp-certificate-authority: pki/issuer.pem
        extra: "true"
        id-token: )" + expired_ +
                             R"(
        refresh-token: "r0"
- name: "0"
  user:
    token: "0123"
    note: |
      two
      lines: "quoted"
    port: 8080
    nothing: ~
    list: [yes, "no", 'it''s']
)";
  write("pki/real", before);
  chmod((directory_ / "pki/real").c_str(), 0640);
  fs::create_symlink("pki/real", directory_ / "config");
  const auto config = load(directory_ / "config");
  // What a path in the file is relative to is the name that it was found by.
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_TRUE(renews(*config));
  EXPECT_TRUE(renews(*config));

  const auto asked = provider_.asked();
  ASSERT_EQ(asked.size(), 1U);
  EXPECT_THAT(asked[0], testing::StartsWith("POST /realm/token?policy=p HTTP/1.1\r\n"));
  EXPECT_THAT(asked[0], HasSubstr("Content-Type: application/x-www-form-urlencoded\r\n"));
  EXPECT_THAT(asked[0], HasSubstr("Authorization: Basic " + base64("a%26b:12%20%253") + "\r\n"));
  EXPECT_THAT(asked[0], testing::EndsWith("\r\n\r\ngrant_type=refresh_token&refresh_token=r0"));

  EXPECT_EQ(setting("id-token"), given());
  EXPECT_EQ(setting("refresh-token"), "r1");
  const auto root = kube::read_root(directory_ / "config");
  ASSERT_TRUE(root);
  Json after = kube::json_of(root->node);
  Json wanted = kube::json_of(YAML::Load(before));
  Json& settings = wanted["users"][0]["user"]["auth-provider"]["config"];
  settings["id-token"] = given();
  settings["refresh-token"] = "r1";
  EXPECT_EQ(after, wanted);
  EXPECT_EQ(after["users"][1]["user"]["token"], "0123") << "a text, as it was";
  EXPECT_EQ(after["users"][1]["user"]["port"], 8080);
  EXPECT_TRUE(fs::is_symlink(directory_ / "config"));
  EXPECT_EQ(fs::status(directory_ / "pki/real").permissions(), fs::perms(0640));
  EXPECT_EQ(names(), (std::set<std::string>{"config", "pki"})) << "no lock, no temporary file";
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_ / "pki"), fs::directory_iterator()), 2);

  // A new program goes on from what was written.
  const auto next = load(directory_ / "config");
  ASSERT_TRUE(next) << next.error().text();
  EXPECT_TRUE(renews(*next));
  EXPECT_EQ(provider_.asked().size(), 1U);
}

// As kubectl, or another of ours, may have done since the file was read.
TEST_F(Oidc, WhatSomebodyElseHasRenewedIsTaken) {
  const auto one = config(expired_, ", refresh-token: r0");
  const std::string newer = id_token_of("ann", 2h);
  config(newer, ", refresh-token: r7");
  EXPECT_EQ(obtained(one), newer);
  EXPECT_TRUE(provider_.asked().empty());
  EXPECT_EQ(setting("refresh-token"), "r7");
}

TEST_F(Oidc, OneAsksForAll) {
  const auto file = kubeconfig("{server: https://a.test}", user(expired_, ", refresh-token: r0"));
  std::vector<kube::Config> programs;
  for (int i = 0; i < 4; ++i) {
    auto one = load(file);
    ASSERT_TRUE(one) << one.error().text();
    programs.push_back(std::move(*one));
  }
  std::vector<std::string> got(8);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < got.size(); ++i)
      threads.emplace_back([&, i] { got[i] = obtained(programs[i / 2]); });
  }
  EXPECT_THAT(got, testing::Each(given()));
  EXPECT_EQ(provider_.asked().size(), 1U) << "a refresh-token may serve once";
}

TEST_F(Oidc, LockOfKubectlIsWaitedFor) {
  auto root = kubeconfig("{server: https://a.test}", user(expired_, ", refresh-token: r0"));
  const auto lock = write("config.lock", "");
  kube::OidcProvider settings;
  settings.where = "here";
  settings.file = root;
  settings.user = "u";
  settings.issuer = provider_.issuer();
  settings.client_id = "c";
  settings.ca = authority().certificate;
  settings.longest_wait = 200ms;
  const auto held = kube::OidcCredentials(settings, expired_).obtain({});
  ASSERT_FALSE(held);
  EXPECT_THAT(held.error().text(), HasSubstr(lock.string() + ": is there: another program writes"));
  EXPECT_THAT(held.error().text(), HasSubstr("remove this file where none runs"));
  EXPECT_TRUE(provider_.asked().empty()) << "the refresh-token may be void once it is shown";
  EXPECT_TRUE(fs::exists(lock)) << "it is not ours";
  settings.longest_wait = 20s;
  kube::OidcCredentials patient(settings, expired_);
  std::stop_source stop;
  std::jthread later([&] {
    std::this_thread::sleep_for(200ms);
    stop.request_stop();
  });
  const auto cancelled = patient.obtain(stop.get_token());
  ASSERT_FALSE(cancelled);
  EXPECT_TRUE(cancelled.error().is_cancelled()) << cancelled.error().text();
  later = std::jthread([&] {
    std::this_thread::sleep_for(200ms);
    fs::remove(lock);
  });
  const auto got = patient.obtain({});
  ASSERT_TRUE(got) << got.error().text();
  EXPECT_EQ(patient.token(), given());
  EXPECT_EQ(setting("id-token"), given());
  EXPECT_FALSE(fs::exists(lock));
}

// The old refresh-token is void by then: the new ones must not be lost, nor asked for again.
TEST_F(Oidc, TokensThatCouldNotBeWrittenAreWrittenLater) {
  const auto one = config(expired_, ", refresh-token: r0");
  std::string whole;
  provider_.token([&](const std::string&, const Form& form) {
    std::ifstream file(directory_ / "config");
    whole.assign(std::istreambuf_iterator<char>(file), {});
    write("config", "users: [");
    return rotate(form);
  });
  for (int i = 0; i < 2; ++i) {
    const std::string failed = obtained(one);
    EXPECT_THAT(failed, HasSubstr("new tokens cannot be kept"));
    EXPECT_THAT(failed, HasSubstr("config: line 1"));
    EXPECT_THAT(failed, Not(HasSubstr(given())));
    EXPECT_EQ(provider_.asked().size(), 1U);
  }
  write("config", whole);
  EXPECT_TRUE(renews(one));
  EXPECT_EQ(setting("id-token"), given());
  EXPECT_EQ(setting("refresh-token"), "r1");
  EXPECT_EQ(provider_.asked().size(), 1U);
}

TEST_F(Oidc, TheProviderIsToldWhoAsksAsItWantsIt) {
  struct Case {
    Json methods;
    const char* secret;
    int requests;
    const char* header;  // of the last request
    const char* body;
  };
  const std::string basic = "Basic " + base64("kube%20ctl:s%20t");
  const char* posted = "&client_id=kube%20ctl&client_secret=s%20t";
  for (const auto& [methods, secret, requests, header, body] :
       {Case{nullptr, ", client-secret: s t", 1, basic.c_str(), "refresh_token=r0"},
        Case{{"client_secret_post"}, ", client-secret: s t", 1, "", posted},
        Case{{"client_secret_post", "client_secret_basic"},
             ", client-secret: s t",
             1,
             basic.c_str(),
             "refresh_token=r0"},
        Case{{"private_key_jwt"}, ", client-secret: s t", 1, basic.c_str(), "refresh_token=r0"},
        Case{nullptr, "", 1, "", "&client_id=kube%20ctl"}}) {
    SCOPED_TRACE(methods.dump() + secret);
    begin_anew();
    const std::size_t before = provider_.asked().size();
    provider_.discovery([this, methods = methods] {
      Json out = provider_.metadata();
      if (methods.is_array()) out["token_endpoint_auth_methods_supported"] = methods;
      return ProviderAnswer{out.dump()};
    });
    EXPECT_TRUE(renews(config(expired_, std::string(", refresh-token: r0") + secret)));
    const auto asked = provider_.asked();
    ASSERT_EQ(asked.size(), before + static_cast<std::size_t>(requests));
    EXPECT_THAT(asked.back(), testing::EndsWith(body));
    if (*header != '\0') {
      EXPECT_THAT(asked.back(), HasSubstr(std::string("Authorization: ") + header + "\r\n"));
    } else {
      EXPECT_THAT(asked.back(), Not(HasSubstr("Authorization")));
    }
  }
  // One that does not say so and knows no header.
  begin_anew();
  const std::size_t before = provider_.asked().size();
  provider_.discovery({});
  provider_.token([this](const std::string& request, const Form& form) {
    if (request.find("Authorization") != std::string::npos)
      return ProviderAnswer{R"({"error":"invalid_client"})", "401 Unauthorized"};
    return rotate(form);
  });
  EXPECT_TRUE(renews(config(expired_, ", refresh-token: r0, client-secret: s t")));
  EXPECT_EQ(provider_.asked().size(), before + 2);
  EXPECT_THAT(provider_.asked().back(), testing::EndsWith(posted));
}

TEST_F(Oidc, ProvidersThatGiveNothingAreToldApart) {
  const auto says = [&](const std::string& more = "") {
    const std::string out =
        obtained(config(expired_, ", refresh-token: s3cret-r, client-secret: s3cret-c" + more));
    EXPECT_THAT(
        out, HasSubstr((directory_ / "config").string() + ": users[u].user.auth-provider.config"));
    EXPECT_THAT(out, Not(HasSubstr("s3cret")));
    EXPECT_THAT(out, Not(HasSubstr("\x1b")));
    EXPECT_EQ(setting("refresh-token"), "s3cret-r") << "nothing is written";
    return out;
  };
  const auto gives = [&](const std::string& body, const std::string& status = "200 OK") {
    provider_.token([body, status](const std::string&, const Form&) {
      return ProviderAnswer{body, status};
    });
    return says();
  };
  EXPECT_THAT(says(), testing::AllOf(HasSubstr(".refresh-token is not taken: "),
                                     HasSubstr("400 invalid_grant (used?[2J); log in again")));
  EXPECT_THAT(gives(R"({"error":"invalid_client"})", "401 Unauthorized"),
              HasSubstr("config.client-id: "));
  EXPECT_THAT(gives("<html>", "502 Bad Gateway"), HasSubstr("answers 502; log in"));
  EXPECT_THAT(gives("<html>"), HasSubstr("gives no id_token: the login must ask for the scope"));
  EXPECT_THAT(gives(R"({"access_token":"a"})"), HasSubstr("gives no id_token"));
  EXPECT_THAT(gives(R"({"id_token":"a\nb.c.d"})"), HasSubstr("gives an id_token that is none"));
  EXPECT_THAT(gives(Json{{"id_token", expired_}}.dump()),
              HasSubstr("has ended; see that this machine's clock is right"));
  const auto finds = [&](const std::string& body, const std::string& status = "200 OK") {
    provider_.discovery([body, status] { return ProviderAnswer{body, status}; });
    return says();
  };
  EXPECT_THAT(finds("", "404 Not Found"),
              HasSubstr("config.idp-issuer-url: " + provider_.issuer() +
                        "/.well-known/openid-configuration answers 404"));
  EXPECT_THAT(finds("{}"), HasSubstr("names no token_endpoint"));
  EXPECT_THAT(finds("[]"), HasSubstr("names no token_endpoint"));
  EXPECT_THAT(finds(R"({"token_endpoint":"http://i.test/token"})"), HasSubstr("use https://"));
  EXPECT_THAT(finds(R"({"token_endpoint":"token"})"), HasSubstr("must begin with https://"));
  EXPECT_THAT(finds(std::string(2'000'000, ' ')), HasSubstr("larger than 1048576 bytes"));
}

TEST_F(Oidc, AStrangerGetsNothing) {
  const auto refused = load(
      kubeconfig("{server: https://a.test}",
                 "{auth-provider: {name: oidc, config: {idp-issuer-url: '" + provider_.issuer() +
                     "', client-id: c, refresh-token: r0, idp-certificate-authority-data: " +
                     base64(test_pki::make_ca("other").certificate) + "}}}"));
  ASSERT_TRUE(refused) << refused.error().text();
  const auto got = refused->credentials->obtain({});
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason, kube::kTransportReasonTls);
  EXPECT_THAT(got.error().text(), HasSubstr(".idp-certificate-authority names the authorities"));
  EXPECT_TRUE(provider_.asked().empty());
}

}  // namespace
