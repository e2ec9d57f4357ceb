// Every object, fragment, value and command that the documents show is tried: objects by the real
// API server, values by the chart's schema, commands by the real programs. What cannot be says why.
#include <algorithm>
#include <map>
#include <regex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/client.h>
#include <kube/envtest.h>

#include "chart/chart.h"
#include "docs/documents.h"

namespace palisade::docs::testing {
namespace {

namespace fs = std::filesystem;
using chart::testing::environment;
using chart::testing::objects_of;
using courier::testing::Directory;
using courier::testing::Outcome;
using courier::testing::Process;
using courier::testing::read_file;
using courier::testing::write_file;
using nlohmann::json;
using Strings = std::vector<std::string>;

fs::path source() {
  return environment("PALISADE_SOURCE_DIR");
}
std::string tool(const char* name) {
  return (fs::path(environment("PALISADE_TOOLS_BIN")) / name).string();
}

const std::vector<Document>& documents() {
  static const std::vector<Document> kAll = [] {
    std::vector<fs::path> files{"README.md", "CONTRIBUTING.md"};
    for (const char* folder : {"docs", "manifests", "charts/palisade", "gateway", "operator",
                               "courier", "kube", "e2e", "bench"}) {
      for (const auto& entry : fs::directory_iterator(source() / folder)) {
        if (entry.path().extension() == ".md")
          files.push_back(entry.path().lexically_relative(source()));
      }
    }
    std::ranges::sort(files);
    std::vector<Document> out;
    for (const fs::path& file : files)
      out.push_back(read_document(file, read_file(source() / file)));
    return out;
  }();
  return kAll;
}

std::vector<Block> blocks(std::string_view language) {
  std::vector<Block> out;
  for (const Document& document : documents()) {
    std::ranges::copy_if(document.blocks, std::back_inserter(out), [&](const Block& block) {
      return block.language == language && block.not_run.empty();
    });
  }
  return out;
}

// Where a fragment of YAML belongs, by its keys; "" where they do not tell.
std::string place_of(const json& fragment) {
  static const std::vector<std::pair<std::string, std::set<std::string>>> kPlaces = [] {
    std::vector<std::pair<std::string, std::set<std::string>>> out;
    const auto keys = [](const json& object) {
      std::set<std::string> all;
      for (const auto& [key, value] : object.items())
        all.insert(key);
      return all;
    };
    const json crd =
        objects_of(read_file(source() / "crds/agentworkspaces.palisade.dev.yaml")).at(0);
    const json& schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    const json& spec = schema["properties"]["spec"]["properties"];
    out.emplace_back("values",
                     keys(objects_of(read_file(chart::testing::chart() / "values.yaml")).at(0)));
    out.emplace_back("AgentWorkspace", std::set<std::string>{"spec", "metadata"});
    out.emplace_back("AgentWorkspace spec", keys(spec));
    out.emplace_back("AgentWorkspace spec.repository", keys(spec["repository"]["properties"]));
    return out;
  }();
  std::string found;
  for (const auto& [place, known] : kPlaces) {
    bool all = fragment.is_object() && !fragment.empty();
    for (const auto& [key, value] : fragment.items())
      all = all && known.contains(key);
    if (!all) continue;
    if (!found.empty()) return "";
    found = place;
  }
  return found;
}

// `fragment` at a dotted path of `object`, beside what is there.
void put(json& object, std::string_view path, const json& fragment) {
  json* at = &object;
  while (!path.empty()) {
    const auto dot = path.find('.');
    at = &(*at)[std::string(path.substr(0, dot))];
    path = dot == std::string_view::npos ? "" : path.substr(dot + 1);
  }
  at->merge_patch(fragment);
}

json minimal(const std::string& kind) {
  if (kind == "AgentWorkspace")
    return {{"apiVersion", "palisade.dev/v1alpha1"},
            {"kind", kind},
            {"metadata", {{"name", "fragment"}, {"namespace", "team-a"}}},
            {"spec", {{"repository", {{"url", "https://git.example.com/team/app.git"}}}}}};
  if (kind == "NetworkPolicy")
    return {{"apiVersion", "networking.k8s.io/v1"},
            {"kind", kind},
            {"metadata", {{"name", "fragment"}, {"namespace", "team-a"}}},
            {"spec", {{"podSelector", json::object()}}}};
  return {};
}

struct Fragment {
  std::string place;  // of the block
  json object;        // whole, or values
  bool values = false;
};

// All YAML of the documents, each a whole object or a set of values.
std::vector<Fragment> fragments() {
  std::vector<Fragment> out;
  for (const Block& block : blocks("yaml")) {
    std::vector<json> documents_of_block;
    try {
      documents_of_block = objects_of(block.text);
    } catch (const std::exception& error) {
      ADD_FAILURE() << block.place() << ": " << error.what();
      continue;
    }
    for (const json& one : documents_of_block) {
      if (one.is_object() && one.contains("apiVersion")) {
        out.push_back({block.place(), one, false});
        continue;
      }
      const std::string place = block.part_of.empty() ? place_of(one) : block.part_of;
      const auto space = place.find(' ');
      const std::string kind = place.substr(0, space);
      const std::string path = space == std::string::npos ? "" : place.substr(space + 1);
      Fragment fragment{block.place(), minimal(kind), kind == "values"};
      if (!fragment.values && fragment.object.is_null()) {
        ADD_FAILURE()
            << block.place()
            << ": its keys do not tell where it belongs; say it above: <!-- part of: KIND PATH -->";
        continue;
      }
      if (fragment.values) fragment.object = json::object();
      put(fragment.object, path, one);
      out.push_back(std::move(fragment));
    }
  }
  return out;
}

class Documents : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    for (const auto& entry : fs::directory_iterator(source() / "crds")) {
      const auto installed = env_->install_crd(entry.path());
      ASSERT_TRUE(installed) << installed.error().text();
    }
    auto admin = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast);
    for (const char* name : {"team-a", "palisade-system", "palisade-gateway"}) {
      const auto made =
          admin->create(kube::resources::kNamespaces, "", {{"metadata", {{"name", name}}}});
      ASSERT_TRUE(made) << made.error().text();
    }
  }
  static void TearDownTestSuite() { env_.reset(); }
  void SetUp() override { ASSERT_TRUE(env_); }

  static Outcome run(Strings words, const fs::path& in = "/dev/null",
                     const fs::path& folder = "/") {
    const Directory home;
    Process::Options options;
    options.environment = {"PATH=/usr/bin:/bin", "HOME=" + home.path().string(),
                           "KUBECONFIG=" + env_->kubeconfig_path()};
    options.in = in;
    options.directory = folder;
    options.out = home.path() / "out";
    options.err = home.path() / "err";
    Process process(words, options);
    // What watches was understood where it still runs; anything else that does not end is a
    // failure.
    const bool watches = std::ranges::any_of(words,
                                             [](const std::string& word) {
                                               return word == "-w" || word == "--watch" ||
                                                      word == "-f" || word == "--follow" ||
                                                      word == "ui";
                                             }) &&
                         std::ranges::find(words, "apply") == words.end();
    if (!process.wait(std::chrono::seconds(watches ? 5 : 60))) {
      if (!watches) ADD_FAILURE() << "does not end: " << ::testing::PrintToString(words);
      return {kWaits, read_file(options.out), read_file(options.err)};
    }
    return {process.code(), read_file(options.out), read_file(options.err)};
  }
  static constexpr int kWaits = -2;

  static inline std::unique_ptr<kube::EnvTest> env_;
};

TEST_F(Documents, BlocksSayWhatTheyAre) {
  const std::set<std::string> known{"",         "yaml", "sh",         "console", "json",
                                    "indented", "cpp",  "dockerfile", "text"};
  int count = 0;
  for (const Document& document : documents()) {
    for (const std::string& error : document.errors)
      ADD_FAILURE() << error;
    for (const Block& block : document.blocks) {
      EXPECT_TRUE(known.contains(block.language)) << block.place() << ": " << block.language;
      if (!block.not_run.empty()) {
        EXPECT_GE(block.not_run.size(), 10U) << block.place() << ": the reason is too short";
      }
      ++count;
    }
  }
  EXPECT_GT(count, 60);
}

TEST_F(Documents, ObjectsAreTakenByTheApiServer) {
  const Directory folder;
  std::map<std::string, int> kinds;
  for (const Fragment& fragment : fragments()) {
    if (fragment.values) continue;
    write_file(folder.path() / "object.json", fragment.object.dump());
    const Outcome done = run({tool("kubectl"), "apply", "--server-side", "--dry-run=server",
                              "--validate=strict", "-f", "object.json"},
                             "/dev/null", folder.path());
    EXPECT_EQ(done.code, 0) << fragment.place << ": " << done.err;
    ++kinds[fragment.object["kind"]];
  }
  EXPECT_GE(kinds["AgentWorkspace"], 15);
  EXPECT_GE(kinds["AgentPolicy"], 3);
  EXPECT_GE(kinds["HardeningException"], 1);
}

TEST_F(Documents, AnUnknownFieldWouldBeFound) {
  const Directory folder;
  json object = minimal("AgentWorkspace");
  object["spec"]["repository"]["branches"] = "x";
  write_file(folder.path() / "object.json", object.dump());
  const Outcome done = run({tool("kubectl"), "apply", "--server-side", "--dry-run=server",
                            "--validate=strict", "-f", "object.json"},
                           "/dev/null", folder.path());
  EXPECT_NE(done.code, 0);
  EXPECT_THAT(done.err, ::testing::HasSubstr("branches"));
}

TEST_F(Documents, ValuesAreTheCharts) {
  const Directory folder;
  const auto rendered = [&](const json& values) {
    write_file(folder.path() / "values.yaml", values.dump());
    return chart::testing::helm({"template", "palisade", chart::testing::chart().string(), "-n",
                                 "palisade-system", "--values",
                                 (folder.path() / "values.yaml").string()});
  };
  int count = 0;
  for (const Fragment& fragment : fragments()) {
    if (!fragment.values) continue;
    const Outcome done = rendered(fragment.object);
    EXPECT_EQ(done.code, 0) << fragment.place << ": " << done.err;
    ++count;
  }
  EXPECT_GE(count, 8);
  EXPECT_NE(rendered({{"webhook", {{"replica", 3}}}}).code, 0)
      << "an unknown value would not be found";
}

TEST_F(Documents, JsonIsRead) {
  int count = 0;
  for (const Block& block : blocks("json")) {
    EXPECT_TRUE(json::accept(block.text)) << block.place();
    ++count;
  }
  EXPECT_GE(count, 2);
}

// The folder in which a document's reader types: the repository, and the files that it speaks of.
class Commands : public Documents {
 protected:
  void lay_out(const Document& document) {
    for (const auto& entry : fs::directory_iterator(source())) {
      if (entry.path().filename() == "build" || entry.path().filename() == ".git") continue;
      fs::create_symlink(entry.path(), folder_.path() / entry.path().filename());
    }
    fs::create_directories(folder_.path() / "deploy");
    fs::create_directories(folder_.path() / "policy-tests");
    const std::string pod = read_file(source() / "tests/fixtures/good_pod.json");
    write_file(folder_.path() / "deploy/pod.json", pod);
    write_file(folder_.path() / "token", "not-a-token");
    write_file(folder_.path() / "palisade.private-key.pem", "not-a-key");
    write_file(folder_.path() / "policy.json", "{}");
    write_file(folder_.path() / "values.yaml", "{}");
    write_file(folder_.path() / "workspace.yaml", minimal("AgentWorkspace").dump());
    write_file(folder_.path() / "by-hand.yaml", pod);
    for (const Block& block : document.blocks) {
      if (block.language != "yaml" || !block.part_of.empty()) continue;
      if (block.text.find("kind: AgentWorkspace") != std::string::npos)
        write_file(folder_.path() / "workspace.yaml", block.text);
      if (block.text.find("kind: Pod\n") != std::string::npos)
        write_file(folder_.path() / "by-hand.yaml", block.text);
    }
  }

  // What is wrong with a command; "" where nothing is. Its output goes into the folder's "piped".
  std::string wrong_with(const Command& command) {
    if (command.words.empty()) return "a quote is not closed";
    const std::string& program = command.words[0];
    const fs::path in = command.piped ? folder_.path() / "piped" : fs::path("/dev/null");
    if (program == "palisade") return palisade(command.words, in);
    if (program == "kubectl") return kubectl(command.words, in);
    if (program == "helm") return helm(command.words);
    if (program == "make") {
      const Outcome done =
          run({"/usr/bin/make", "-n", command.words.size() > 1 ? command.words[1] : "help"}, in,
              folder_.path());
      return done.code == 0 ? "" : done.err;
    }
    if (program.find('/') != std::string::npos) {
      const auto status = fs::status(source() / program);
      const bool runs = (status.permissions() & fs::perms::owner_exec) != fs::perms::none;
      return fs::is_regular_file(status) && runs ? ""
                                                 : "there is no such program in the repository";
    }
    return "what it runs is not known here; say why it is not run: <!-- not run: REASON -->";
  }

 private:
  std::string palisade(Strings words, const fs::path& in) {
    words[0] = PALISADE_PROGRAM;
    const Outcome done = run(words, in, folder_.path());
    write_file(folder_.path() / "piped", done.out);
    return done.err.find("Run with --help") == std::string::npos ? "" : done.err;
  }

  std::string kubectl(Strings words, const fs::path& in) {
    static const std::set<std::string> kWriting{"apply", "create",   "delete", "patch",
                                                "label", "annotate", "replace"};
    words[0] = tool("kubectl");
    if (words.size() > 1 && kWriting.contains(words[1]))
      words.insert(words.begin() + 2, "--dry-run=server");
    const Outcome done = run(words, in, folder_.path());
    write_file(folder_.path() / "piped", done.out);
    // That something is not there, or there already, is the empty cluster's.
    static const std::regex kEmpty(
        R"(\(NotFound\)|\(AlreadyExists\)|not found|No resources found)");
    return done.code == 0 || done.code == kWaits || std::regex_search(done.err, kEmpty) ? ""
                                                                                        : done.err;
  }

  std::string helm(Strings words) {
    words[0] = tool("helm");
    if (words.size() < 2) return "no command";
    if (words[1] == "install" || words[1] == "upgrade") {
      words[1] = "template";
      std::erase(words, "--install");
    } else {
      // The others need a release: their names and options are looked up.
      const Outcome help = run({words[0], words[1], "--help"});
      if (help.code != 0) return help.err;
      for (const std::string& word : words) {
        const std::string flag = word.substr(0, word.find('='));
        if (flag.starts_with("-") && help.out.find(flag) == std::string::npos)
          return "helm " + words[1] + " has no " + flag;
      }
      return "";
    }
    const Outcome done = run(words, "/dev/null", folder_.path());
    return done.code == 0 ? "" : done.err;
  }

 protected:
  Directory folder_;
};

TEST_F(Commands, AreUnderstood) {
  std::map<std::string, int> programs;
  for (const Document& document : documents()) {
    bool laid_out = false;
    for (const Block& block : document.blocks) {
      const bool commands =
          block.language == "sh" || block.language == "console" || block.language == "indented";
      if (!commands || !block.not_run.empty()) continue;
      if (!laid_out) {
        for (const auto& entry : fs::directory_iterator(folder_.path()))
          fs::remove_all(entry.path());
        lay_out(document);
        laid_out = true;
      }
      for (const Command& command : commands_of(block)) {
        const std::string wrong = wrong_with(command);
        EXPECT_EQ(wrong, "") << block.place() << ": " << ::testing::PrintToString(command.words);
        if (!command.words.empty()) ++programs[command.words[0]];
      }
    }
  }
  EXPECT_GE(programs["palisade"], 15);
  EXPECT_GE(programs["kubectl"], 20);
  EXPECT_GE(programs["helm"], 5);
}

TEST_F(Commands, WhatIsNoCommandIsFound) {
  lay_out({});
  for (const Strings& words :
       std::vector<Strings>{{"palisade", "lst"},
                            {"palisade", "list", "--everywhere"},
                            {"kubectl", "get", "agentworkspace", "--every"},
                            {"kubectl", "get", "agentworkplaces"},
                            {"helm", "install", "x", "charts/palisade", "--set", "nothing=1"},
                            {"helm", "uninstall", "x", "--forever"},
                            {"make", "tea"},
                            {"scripts/tea"},
                            {"tea"}}) {
    EXPECT_NE(wrong_with({words, false}), "") << ::testing::PrintToString(words);
  }
}

}  // namespace
}  // namespace palisade::docs::testing
