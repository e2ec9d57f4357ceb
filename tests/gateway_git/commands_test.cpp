#include "commands.h"

#include <gateway/git/config.h>
#include <gtest/gtest.h>

#include "advertisement.h"
#include "report.h"

namespace palisade::gateway::git {
namespace {

const std::string kA(40, 'a');
const std::string kB(40, 'b');
const std::string kZero(40, '0');
const std::string kLongA(64, 'a');
const std::string kLongB(64, 'b');
constexpr const char* kRef = "refs/heads/palisade/fix";
constexpr std::string_view kUsual =
    "report-status-v2 side-band-64k object-format=sha1 agent=git/2.39.5";

RepositoryGrant grant() {
  RepositoryGrant out;
  out.url = "https://git.example.com/team/app.git";
  out.branch = "palisade/fix";
  out.read_only = false;
  return out;
}

std::string command(std::string_view old_id, std::string_view new_id, std::string_view ref,
                    std::string_view capabilities = {}) {
  std::string line = std::string(old_id) + ' ' + std::string(new_id) + ' ' + std::string(ref);
  if (!capabilities.empty()) {
    line += '\0';
    line += ' ' + std::string(capabilities);
  }
  return pkt(line);
}

struct Read {
  CommandList list;
  bool ended = false;
  std::optional<Rejection> rejection;
  std::string rest;
};

Read read(std::string_view stream) {
  Read out;
  PktReader packets;
  CommandReader commands;
  while (!out.ended && !out.rejection) {
    const auto pkt = packets.next(stream);
    if (!pkt || !*pkt) break;
    const auto ended = commands.take(**pkt);
    if (ended)
      out.ended = *ended;
    else
      out.rejection = ended.error();
  }
  out.list = commands.list();
  out.rest = stream;
  return out;
}

struct Case {
  const char* name;
  std::string stream;
  std::string code;    // "": it may be done
  const char* reason;  // a part of it
};

TEST(Commands, OneUpdateOfTheOneBranch) {
  const std::string usual(kUsual);
  const std::vector<Case> cases = {
      {"an update", command(kA, kB, kRef, kUsual) + "0000", "", ""},
      {"a new branch", command(kZero, kB, kRef, kUsual) + "0000", "", ""},
      {"with a line feed",
       pkt(kA + ' ' + kB + ' ' + kRef + std::string("\0 atomic", 8) + '\n') + "0000", "", ""},
      {"without capabilities", command(kA, kB, kRef) + "0000", "", ""},
      {"SHA-256", command(kLongA, kLongB, kRef, "object-format=sha256") + "0000", "", ""},
      {"quiet, atomic, offsets",
       command(kA, kB, kRef, usual + " quiet atomic ofs-delta session-id=1-2") + "0000", "", ""},
      {"a deletion", command(kA, kZero, kRef, kUsual) + "0000", "deletion", "may not be deleted"},
      {"a deletion elsewhere", command(kA, kZero, "refs/heads/main", kUsual) + "0000", "deletion",
       "may not be deleted"},
      {"another branch", command(kA, kB, "refs/heads/main", kUsual) + "0000", "other_ref",
       "only the branch palisade/fix"},
      {"a branch below it", command(kA, kB, std::string(kRef) + "/x", kUsual) + "0000", "other_ref",
       "HEAD:refs/heads/palisade/fix"},
      {"its name without the folder", command(kA, kB, "palisade/fix", kUsual) + "0000", "other_ref",
       ""},
      {"a path that leads to it", command(kA, kB, "refs/heads/x/../palisade/fix", kUsual) + "0000",
       "other_ref", ""},
      {"its name in capitals", command(kA, kB, "refs/heads/palisade/FIX", kUsual) + "0000",
       "other_ref", ""},
      {"HEAD", command(kA, kB, "HEAD", kUsual) + "0000", "other_ref", ""},
      {"a review", command(kZero, kB, "refs/for/main", kUsual) + "0000", "other_ref", ""},
      {"a tag", command(kZero, kB, "refs/tags/v1", kUsual) + "0000", "tag",
       "tags may not be pushed"},
      {"two refs", command(kA, kB, kRef, kUsual) + command(kZero, kB, "refs/heads/two") + "0000",
       "other_ref", ""},
      {"twice", command(kA, kB, kRef, kUsual) + command(kB, kA, kRef) + "0000", "several_refs",
       "exactly one branch"},
      {"none", "0000", "several_refs", ""},
      {"a push option", command(kA, kB, kRef, usual + " push-options") + "0000", "push_option",
       "without -o"},
      {"a certificate offered", command(kA, kB, kRef, usual + " push-cert=nonce") + "0000",
       "capability", "push-cert"},
      {"a certificate",
       pkt(std::string("push-cert\0 ", 11) + usual) + pkt("certificate version 0.1\n") + "0000",
       "push_certificate", "--signed"},
      {"shallow", pkt("shallow " + kA + "\n") + command(kA, kB, kRef, kUsual) + "0000", "shallow",
       "--unshallow"},
      {"something unknown", command(kA, kB, kRef, usual + " see-through=1") + "0000", "capability",
       "see-through"},
      {"something that hurts a terminal", command(kA, kB, kRef, usual + " \x1b[2J") + "0000",
       "capability", "capability ?[2J"},
      {"a value where none belongs", command(kA, kB, kRef, "atomic=no") + "0000", "capability",
       "atomic"},
      {"an unknown format", command(kA, kB, kRef, "object-format=md5") + "0000", "capability",
       "object-format"},
      {"two formats", command(kA, kB, kRef, "object-format=sha1 object-format=sha256") + "0000",
       "capability", "twice"},
      {"names of another format", command(kLongA, kLongB, kRef, kUsual) + "0000", "object_format",
       "not of format sha1"},
      {"names of two formats", command(kA, kLongB, kRef, kUsual) + "0000", "bad_commands",
       "40 or 64"},
      {"capital digits", command(std::string(40, 'A'), kB, kRef, kUsual) + "0000", "bad_commands",
       "40 or 64"},
      {"no ref", pkt(kA + ' ' + kB) + "0000", "bad_commands", "OLD NEW REF"},
      {"an empty ref", pkt(kA + ' ' + kB + ' ') + "0000", "bad_commands", "is not a name"},
      {"a ref with a line feed", command(kA, kB, "refs/heads/x\nng y", kUsual) + "0000",
       "bad_commands", "is not a name"},
      {"a ref with a space", command(kA, kB, std::string(kRef) + " x", kUsual) + "0000",
       "bad_commands", "is not a name"},
      {"capabilities behind the second",
       command(kA, kB, kRef, kUsual) + command(kA, kB, kRef, "push-options") + "0000",
       "bad_commands", "not the first"},
      {"a NUL within them",
       pkt(kA + ' ' + kB + ' ' + kRef + std::string("\0a\0push-options", 15)) + "0000",
       "bad_commands", "NUL"},
      {"a delimiter", command(kA, kB, kRef, kUsual) + "0001", "bad_commands", "no place"},
      {"an empty packet",
       "0004"
       "0000",
       "bad_commands", "OLD NEW REF"},
  };
  for (const Case& c : cases) {
    const Read got = read(c.stream);
    std::optional<Rejection> rejection = got.rejection;
    Choice choice;
    if (!rejection) {
      ASSERT_TRUE(got.ended) << c.name;
      const auto update = judge(got.list, grant(), choice);
      if (update) {
        EXPECT_EQ(update->command.ref, kRef) << c.name;
      } else {
        rejection = update.error();
      }
    }
    EXPECT_EQ(rejection ? rejection->code : "", c.code) << c.name;
    if (rejection) {
      EXPECT_NE(rejection->reason.find(c.reason), std::string::npos)
          << c.name << ": " << rejection->reason;
    }
  }
}

TEST(Commands, ThePackBehindIsLeft) {
  const Read got = read(command(kA, kB, kRef, kUsual) + "0000PACK and so on");
  EXPECT_TRUE(got.ended);
  EXPECT_EQ(got.rest, "PACK and so on");
}

TEST(Commands, AnEndlessListEnds) {
  std::string many;
  for (int i = 0; i < 1001; ++i)
    many += command(kZero, kB, "refs/heads/b" + std::to_string(i));
  EXPECT_EQ(read(many).rejection.value_or(Rejection{}).code, "too_many_commands");
  std::string large;
  for (int i = 0; i < 20; ++i)
    large += pkt("shallow " + std::string(30'000, 'a'));
  EXPECT_EQ(read(large).rejection.value_or(Rejection{}).code, "too_many_commands");
}

TEST(Commands, NothingIsPushedWhereNothingMayBe) {
  const Read got = read(command(kA, kB, kRef, kUsual) + "0000");
  RepositoryGrant read_only = grant();
  read_only.read_only = true;
  Choice choice;
  EXPECT_EQ(judge(got.list, read_only, choice).error().code, "read_only");
  EXPECT_TRUE(choice.report_status && choice.side_band) << "the form of the answer";
  RepositoryGrant odd = grant();
  odd.branch = "../x";
  EXPECT_EQ(judge(got.list, odd, choice).error().code, "bad_grant");
}

TEST(Commands, TheHostGetsWhatWasUnderstood) {
  const Read got =
      read(command(kA, kB, kRef, "report-status   quiet side-band-64k agent=a\n") + "0000");
  Choice choice;
  const auto update = judge(got.list, grant(), choice);
  ASSERT_TRUE(update);
  EXPECT_EQ(written(*update),
            command(kA, kB, kRef, "report-status quiet side-band-64k agent=a") + "0000");
}

TEST(BranchName, AsGitTakesThem) {
  for (const char* good : {"main", "palisade/fix", "a/b/c", "x.y", "fix-1", "@", "\xc3\xa4"})
    EXPECT_TRUE(is_branch_name(good)) << good;
  for (const std::string& bad :
       {std::string(),       std::string("/a"),      std::string("a/"),
        std::string("a//b"), std::string(".a"),      std::string("a/.b"),
        std::string("a..b"), std::string("a.lock"),  std::string("a.lock/b"),
        std::string("a b"),  std::string("a~"),      std::string("a^"),
        std::string("a:b"),  std::string("a?"),      std::string("a*"),
        std::string("a["),   std::string("a\\b"),    std::string("a@{b"),
        std::string("a."),   std::string("-a"),      std::string("HEAD"),
        std::string("a\nb"), std::string("a\0b", 3), std::string(600, 'a')}) {
    EXPECT_FALSE(is_branch_name(bad)) << bad;
  }
}

TEST(Capabilities, WhatCannotBeCheckedIsNotOffered) {
  EXPECT_EQ(
      offered(" report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta "
              "push-options push-cert=123 object-format=sha1 agent=git/2.39.5 no-thin new-thing"),
      "no-thin report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta "
      "object-format=sha1 agent=git/2.39.5");
  EXPECT_EQ(offered(""), "no-thin");
  EXPECT_EQ(offered("object-format=md5 agent= atomic=1"), "no-thin");
}

// ---- the advertisement

struct Advertised {
  Advertisement advertisement;
  std::string out;
  std::string error;
};

Advertised advertise(std::string_view stream) {
  Advertised got{Advertisement(kRef, kB), {}, {}};
  PktReader packets;
  while (got.error.empty()) {
    const auto pkt = packets.next(stream);
    if (!pkt) got.error = pkt.error();
    if (!pkt || !*pkt) break;
    const auto out = got.advertisement.take(**pkt);
    if (out)
      got.out += *out;
    else
      got.error = out.error();
  }
  return got;
}

const std::string kService = pkt("# service=git-receive-pack\n") + "0000";

std::string line(std::string_view id, std::string_view ref, std::string_view capabilities = {}) {
  std::string text = std::string(id) + ' ' + std::string(ref);
  if (!capabilities.empty()) {
    text += '\0';
    text += capabilities;
  }
  return pkt(text + '\n');
}

TEST(Advertisement, IsPassedOnWithItsCapabilitiesEdited) {
  const Advertised got = advertise(
      kService + line(kA, "refs/heads/main", "report-status delete-refs ofs-delta agent=x") +
      line(kA, kRef) + line(kB, "refs/tags/v1") + line(kB, ".have") + pkt("shallow " + kA) +
      "0000");
  EXPECT_EQ(got.error, "");
  EXPECT_TRUE(got.advertisement.complete());
  EXPECT_EQ(got.out, kService +
                         line(kA, "refs/heads/main",
                              " no-thin report-status delete-refs ofs-delta agent=x") +
                         line(kA, kRef) + line(kB, "refs/tags/v1") + line(kB, ".have") +
                         pkt("shallow " + kA) + "0000");
  EXPECT_EQ(got.advertisement.tip(), kA);
  EXPECT_TRUE(got.advertisement.has_id());
  EXPECT_EQ(got.advertisement.format(), ObjectFormat::kSha1);
}

TEST(Advertisement, OfAnEmptyRepositoryAndOfVersionOne) {
  Advertised got = advertise(
      kService + line(std::string(64, '0'), "capabilities^{}", " atomic object-format=sha256") +
      "0000");
  EXPECT_EQ(got.error, "");
  EXPECT_TRUE(got.advertisement.complete());
  EXPECT_EQ(got.advertisement.format(), ObjectFormat::kSha256);
  EXPECT_EQ(got.advertisement.tip(), std::nullopt);
  EXPECT_FALSE(got.advertisement.has_id());
  got = advertise(kService + pkt("version 1\n") + line(kB, ".have", "atomic") + "0000");
  EXPECT_EQ(got.error, "");
  EXPECT_TRUE(got.advertisement.complete());
  EXPECT_FALSE(got.advertisement.has_id()) << "what an alternate has is no tip";
}

TEST(Advertisement, RefusesAnythingElse) {
  const std::string first = line(kA, "refs/heads/main", " atomic");
  struct Odd {
    const char* name;
    std::string stream;
    const char* error;
  };
  for (const Odd& odd : {
           Odd{"dumb", std::string(40, 'f') + "\trefs/heads/main\n", "a packet's length is 65535"},
           Odd{"another service", pkt("# service=git-upload-pack\n") + "0000",
               "it does not begin with its service"},
           Odd{"no service", first + "0000", "it does not begin with its service"},
           Odd{"no flush", pkt("# service=git-receive-pack\n") + first,
               "no flush packet behind the service"},
           Odd{"version 2", kService + pkt("version 2\n"),
               "a version of the protocol that no push has"},
           Odd{"an error", kService + pkt("ERR go away\n"), "an error of the host"},
           Odd{"nothing", kService + "0000", "it ends before its first ref"},
           Odd{"no capabilities", kService + line(kA, "refs/heads/main") + "0000",
               "its first ref carries no capabilities"},
           Odd{"capabilities twice",
               kService + first + line(kA, "refs/heads/x", "push-options") + "0000",
               "a line that is no ref"},
           Odd{"a NUL within them",
               kService + line(kA, "refs/heads/main", std::string_view("a\0push-options", 14)),
               "its capabilities hold a NUL"},
           Odd{"an unknown format", kService + line(kA, "refs/heads/main", "object-format=md5"),
               "an object format that is neither sha1 nor sha256"},
           Odd{"no name", kService + first + pkt("refs/heads/x"), "a line that is no ref"},
           Odd{"a bad name", kService + first + line("abc", "refs/heads/x"),
               "a ref without an object name"},
           Odd{"twice", kService + first + line(kA, kRef) + line(kB, kRef),
               "a ref that is given twice"},
           Odd{"more behind", kService + first + "0000" + first,
               "something follows the list of refs"},
           Odd{"a delimiter", kService + first + "0001", "a packet that has no place there"},
       }) {
    const Advertised got = advertise(odd.stream);
    EXPECT_EQ(got.error, odd.error) << odd.name;
  }
  EXPECT_FALSE(advertise(kService + first).advertisement.complete()) << "it is cut";
}

// ---- answers

TEST(Report, EveryCommandIsAnsweredInTheFormThatWasChosen) {
  const Read got = read(command(kA, kB, "refs/heads/main", kUsual) +
                        command(kZero, kB, "refs/tags/v1") + "0000");
  Choice choice;
  const auto update = judge(got.list, grant(), choice);
  ASSERT_FALSE(update);
  const Rejection rejection{"x", "this\nand\x1b that"};
  const std::string inner = pkt("unpack ok\n") +
                            pkt("ng refs/heads/main palisade: this?and? that\n") +
                            pkt("ng refs/tags/v1 palisade: this?and? that\n") + "0000";
  EXPECT_EQ(refusal_report(got.list, choice, rejection),
            side_band('\2', "palisade: this?and? that\n") + side_band('\1', inner) + "0000");
  choice.side_band = false;
  EXPECT_EQ(refusal_report(got.list, choice, rejection), inner);
  choice.report_status = false;
  EXPECT_EQ(refusal_report(got.list, choice, rejection), std::nullopt);
}

TEST(Report, IsReadAlong) {
  struct Answer {
    const char* name;
    std::string report;
    bool accepted;
    const char* reason;
  };
  for (const Answer& answer : {
           Answer{"done", pkt("unpack ok\n") + pkt("ok refs/heads/x\n") + "0000", true, ""},
           Answer{"refused", pkt("unpack ok\n") + pkt("ng refs/heads/x hook declined\n") + "0000",
                  false, "refs/heads/x hook declined"},
           Answer{
               "not unpacked",
               pkt("unpack index-pack failed\n") + pkt("ng refs/heads/x unpacker error\n") + "0000",
               false, "unpack index-pack failed"},
           Answer{"nothing", "", false, ""},
           Answer{"cut", pkt("unpack ok\n") + "00", false, ""},
           Answer{"no packets", "<html>", false, ""},
       }) {
    for (const std::size_t step : {std::size_t{1}, std::size_t{1000}}) {
      ReportReader plain(false);
      ReportReader banded(true);
      const std::string bands = side_band('\2', "hello\n") + std::string("0005\2", 5) +
                                side_band('\1', answer.report) + "0000";
      for (std::size_t at = 0; at < answer.report.size(); at += step)
        plain.take(std::string_view(answer.report).substr(at, step));
      for (std::size_t at = 0; at < bands.size(); at += step)
        banded.take(std::string_view(bands).substr(at, step));
      EXPECT_EQ(plain.accepted(), answer.accepted) << answer.name;
      EXPECT_EQ(plain.reason(), answer.reason) << answer.name;
      EXPECT_EQ(banded.accepted(), answer.accepted) << answer.name;
      EXPECT_EQ(banded.reason(), answer.reason) << answer.name;
    }
  }
  ReportReader fatal(true);
  fatal.take(side_band('\3', "disk full\n"));
  EXPECT_EQ(fatal.reason(), "disk full");
}

// ---- the configuration

TEST(Config, ReadsWhatIsGivenAndNamesWhatIsWrong) {
  using nlohmann::json;
  EXPECT_EQ(parse_git_config(json::object()), GitConfig{});
  const auto config = parse_git_config({{"maxPackBytes", 1 << 20},
                                        {"maxFetchBytes", 2 << 20},
                                        {"spool", "/var/spool/git"},
                                        {"idleTimeout", "90s"}});
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->max_pack_bytes, 1U << 20U);
  EXPECT_EQ(config->max_spool_bytes, 4U << 20U);
  EXPECT_EQ(config->spool, "/var/spool/git");
  EXPECT_EQ(config->idle_timeout, std::chrono::seconds(90));
  struct Wrong {
    json value;
    const char* error;
  };
  for (const Wrong& wrong : {
           Wrong{json::array(), "must be an object"},
           Wrong{{{"maxPacks", 1}}, "maxPacks: no such field"},
           Wrong{{{"maxPackBytes", "1Gi"}},
                 "maxPackBytes: must be a number of bytes from 65536 to 1099511627776"},
           Wrong{{{"maxPackBytes", -1}},
                 "maxPackBytes: must be a number of bytes from 65536 to 1099511627776"},
           Wrong{{{"maxFetchBytes", 0}},
                 "maxFetchBytes: must be a number of bytes from 65536 to 1099511627776"},
           Wrong{{{"maxSpoolBytes", 65536}}, "maxSpoolBytes: must be at least maxPackBytes"},
           Wrong{{{"spool", "tmp"}}, "spool: must be an absolute path"},
           Wrong{{{"spool", 1}}, "spool: must be a string"},
           Wrong{{{"authorities", "x"}},
                 "authorities: must be certificates in PEM, to be trusted beside the system's, or "
                 "empty"},
           Wrong{{{"idleTimeout", "60"}},
                 "idleTimeout: must be a duration from 1s to 1h, such as 60s"},
           Wrong{{{"idleTimeout", "500ms"}},
                 "idleTimeout: must be a duration from 1s to 1h, such as 60s"},
           Wrong{{{"idleTimeout", "99h"}},
                 "idleTimeout: must be a duration from 1s to 1h, such as 60s"},
       }) {
    const auto read = parse_git_config(wrong.value);
    ASSERT_FALSE(read) << wrong.value;
    EXPECT_EQ(read.error(), wrong.error);
  }
}

}  // namespace
}  // namespace palisade::gateway::git
