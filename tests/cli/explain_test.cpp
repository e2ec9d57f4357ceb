// What is taught is true: every example is judged by the control that it is about.
#include <policy/agent_policy.h>
#include <policy/guards.h>
#include <policy/signatures.h>

#include "cli/program.h"
#include "lessons.h"
#include "policy/fixture.h"
#include "yaml_json.h"

namespace palisade::cli {
namespace {

using nlohmann::json;
using testing::has;

class Explain : public testing::ProgramTest {};

std::string to_json(std::string_view yaml) {
  const auto documents = read_documents(yaml);
  if (!documents) throw std::runtime_error(documents.error().message);
  if (documents->size() != 1) throw std::runtime_error("not one document");
  return documents->front().json;
}

// Findings of that control alone.
std::size_t findings(std::string_view yaml, std::string_view control,
                     const policy::Settings& settings) {
  std::size_t out = 0;
  for (const policy::Finding& finding : policy::testing::findings_of(to_json(yaml), settings))
    out += finding.control == control ? 1U : 0U;
  return out;
}

TEST(Lessons, EveryControlHasOneAndItsExamplesAreTrue) {
  for (const policy::Control& control : policy::controls()) {
    const Lesson* lesson = find_lesson(control.id);
    ASSERT_NE(lesson, nullptr) << control.id << " has no lesson: add one to cli/lessons_*.cpp";
    EXPECT_FALSE(lesson->attack.empty()) << control.id;
    EXPECT_NE(lesson->bad, lesson->good) << control.id;
    if (control.needs_cluster) {
      EXPECT_TRUE(json::parse(to_json(lesson->bad)).contains("kind")) << control.id;
      EXPECT_TRUE(json::parse(to_json(lesson->good)).contains("kind")) << control.id;
      continue;
    }
    policy::Settings settings;
    if (!lesson->settings.empty()) {
      const auto parsed = policy::parse_settings(to_json(lesson->settings));
      ASSERT_TRUE(parsed) << control.id << ": " << parsed.error();
      settings = *parsed;
    }
    EXPECT_GT(findings(lesson->bad, control.id, settings), 0U) << control.id;
    EXPECT_EQ(findings(lesson->good, control.id, settings), 0U) << control.id;
    // Nothing in an example is a field that does not exist, but where that is the lesson.
    EXPECT_EQ(findings(lesson->good, "known-fields", settings), 0U) << control.id;
  }
}

// As far as it takes no registry to tell.
TEST(Lessons, OfSignaturesAreTrue) {
  const Lesson* lesson = find_lesson(policy::kImageSignature);
  ASSERT_NE(lesson, nullptr);
  const auto bound = policy::testing::parsed(to_json(lesson->settings), policy::parse_agent_policy);
  ASSERT_TRUE(bound) << bound.error();
  const policy::AgentPolicy* const policies[] = {&*bound};
  const policy::Settings settings = policy::tightened({}, policies);
  const auto needs = [&](std::string_view yaml) {
    return policy::testing::parsed(to_json(yaml), [&](simdjson::dom::element pod) {
      return policy::signature_needs(pod, settings);
    });
  };
  EXPECT_EQ(needs(lesson->bad).findings.size(), 1U);
  EXPECT_EQ(needs(lesson->good).findings.size(), 0U);
  EXPECT_EQ(needs(lesson->good).images.size(), 1U);
}

// What the webhook makes of their examples, its own tests ask.
TEST(Lessons, EveryGuardHasOne) {
  for (const policy::Control& guard : policy::guards()) {
    const Lesson* lesson = find_lesson(guard.id);
    ASSERT_NE(lesson, nullptr) << guard.id << " has no lesson: add one to cli/lessons_guards.cpp";
    EXPECT_FALSE(lesson->attack.empty()) << guard.id;
    for (const std::string_view example : {lesson->bad, lesson->good}) {
      const json request = json::parse(to_json(example));
      for (const char* key : {"operation", "resource", "name", "user"})
        EXPECT_TRUE(request.contains(key)) << guard.id << ": " << key;
    }
  }
}

TEST(Lessons, NoneIsLeftOfAControlThatIsGone) {
  for (const auto part : {container_lessons(), pod_lessons(), cluster_lessons(), guard_lessons()}) {
    for (const Lesson& lesson : part) {
      EXPECT_NE(policy::find_control(lesson.control), nullptr) << lesson.control;
      EXPECT_EQ(find_lesson(lesson.control), &lesson) << lesson.control << " is there twice";
    }
  }
}

std::vector<policy::Control> all_of_them() {
  std::vector<policy::Control> out;
  for (const auto table : {policy::controls(), policy::guards()})
    out.insert(out.end(), table.begin(), table.end());
  return out;
}

TEST_F(Explain, TellsAllOfAControl) {
  for (const policy::Control& control : all_of_them()) {
    const std::string id(control.id);
    const auto text = run("explain " + id);
    EXPECT_EQ(text.status, 0) << text.err;
    EXPECT_TRUE(text.out.starts_with(id + ": " + std::string(control.title) + "\n")) << text.out;
    for (const char* head : {"\nWhy\n", "\nAn attack that it stops\n", "\nWhat to write instead\n",
                             "\nRefused\n", "\nAccepted by this ", "\nReferences\n"}) {
      EXPECT_TRUE(has(text.out, head)) << id << head;
    }
    for (const std::string_view reference : control.references)
      EXPECT_TRUE(has(text.out, std::string(reference))) << reference;
    const json document = json::parse(run("explain -o json " + id).out);
    EXPECT_EQ(document.at("id"), id);
    EXPECT_EQ(document.at("fix"), control.remedy);
    EXPECT_EQ(document.at("guard"), control.is_guard);
    EXPECT_EQ(has(text.out, "It judges requests: the webhook"), control.is_guard) << id;
    EXPECT_EQ(document.at("bad"), find_lesson(id)->bad);
  }
}

TEST_F(Explain, ListsWithoutAName) {
  const auto text = run("explain");
  EXPECT_EQ(text.status, 0);
  EXPECT_TRUE(has(text.out, "run-as-non-root ")) << text.out;
  EXPECT_EQ(json::parse(run("explain -o json").out).size(), all_of_them().size());
}

// There is nothing of a guard to skip in what a pod says.
TEST_F(Explain, GuardsAreNoControlsOfPods) {
  write("pod.json", policy::testing::good_pod().dump());
  EXPECT_EQ(run("check -f pod.json --skip run-as-non-root").status, 0);
  const auto skipped = run("check -f pod.json --skip session-access");
  EXPECT_EQ(skipped.status, 2);
  EXPECT_TRUE(has(skipped.err, "session-access is a guard: it judges requests")) << skipped.err;
}

TEST_F(Explain, UnknownControlsNameTheNearest) {
  struct Case {
    const char* asked;
    const char* said;
  };
  for (const Case& item : {
           Case{"run-as-root", "did you mean run-as-non-root?"},
           Case{"RunAsNonRoot", "run-as-non-root"},
           Case{"Run_As_Non_Root", "did you mean run-as-non-root?"},
           Case{"seccomp", "did you mean seccomp-profile?"},
           Case{"user-namespcae", "did you mean user-namespace"},
           Case{"session", "did you mean session-access?"},
           Case{"zzzzzzzzzzzzzzzzzzzz",
                "there is no control \"zzzzzzzzzzzzzzzzzzzz\" (palisade controls"},
           Case{"'a\x1b[2Jb'", "there is no control \"a?[2Jb\""},
       }) {
    const auto result = run("explain " + std::string(item.asked));
    EXPECT_EQ(result.status, 2) << item.asked;
    EXPECT_TRUE(has(result.err, item.said)) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

}  // namespace
}  // namespace palisade::cli
