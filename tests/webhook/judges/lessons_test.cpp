// What `palisade explain` teaches of guards is what the webhook does: every example is asked as a
// review, through the whole of it.
#include "lessons.h"

#include <policy/guards.h>
#include <webhook/review.h>

#include "webhook/judges/fake_cluster.h"
#include "yaml_json.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

json read(std::string_view yaml) {
  const auto documents = cli::read_documents(yaml);
  if (!documents) throw std::runtime_error(documents.error().message);
  return json::parse(documents->at(0).json);
}

// The cluster that the lessons tell of.
FakeCluster lessons_cluster(std::string_view settings) {
  FakeCluster cluster;
  cluster.workspace("fix-login", "jane");
  cluster.pod("fix-login-agent",
              {{"palisade.dev/workspace", "fix-login"}, {"palisade.dev/agent", "aider"}},
              "fix-login");
  if (!settings.empty()) {
    const auto parsed = policy::parse_settings(read(settings).dump());
    if (!parsed) throw std::runtime_error(parsed.error());
    cluster.rules_["team-a"].settings = *parsed;
  }
  return cluster;
}

Outcome ask(std::string_view example, const ClusterView& cluster) {
  const json told = read(example);
  Review request{.operation = told.at("operation"),
                 .resource = told.at("resource"),
                 .group = told.value("group", ""),
                 .ns = told.value("namespace", ""),
                 .name = told.at("name"),
                 .user = told.at("user")};
  request.groups = told.value("groups", std::vector<std::string>{"system:authenticated"});
  if (told.contains("object")) request.object = told.at("object");
  if (told.contains("oldObject")) request.old_object = told.at("oldObject");
  return review(json{{"apiVersion", "admission.k8s.io/v1"},
                     {"kind", "AdmissionReview"},
                     {"request", request.body()}}
                    .dump(),
                cluster, kNow);
}

TEST(Lessons, OfGuardsAreTrue) {
  for (const policy::Control& guard : policy::guards()) {
    SCOPED_TRACE(guard.id);
    const cli::Lesson* const lesson = cli::find_lesson(guard.id);
    ASSERT_NE(lesson, nullptr);
    const FakeCluster cluster = lessons_cluster(lesson->settings);
    const Outcome bad = ask(lesson->bad, cluster);
    EXPECT_FALSE(bad.allowed);
    EXPECT_THAT(bad.denied_controls, ElementsAre(guard.id)) << bad.body;
    // Told as a control is: by its title, with the reason and the fix.
    const json status = json::parse(bad.body)["response"]["status"];
    const std::string message = status.value("message", "");
    EXPECT_THAT(message, HasSubstr("[" + std::string(guard.id) + "] " + std::string(guard.title)));
    EXPECT_THAT(message, HasSubstr("why: " + std::string(guard.why)));
    EXPECT_THAT(message, HasSubstr("fix: " + std::string(guard.remedy)));
    const Outcome good = ask(lesson->good, cluster);
    EXPECT_TRUE(good.allowed) << good.body;
    EXPECT_THAT(good.denied_controls, IsEmpty());
  }
}

// An exception that names a guard is none, however it came into the cluster.
TEST(Lessons, NoExceptionCoversAGuard) {
  for (const policy::Control& guard : policy::guards()) {
    SCOPED_TRACE(guard.id);
    const cli::Lesson* const lesson = cli::find_lesson(guard.id);
    ASSERT_NE(lesson, nullptr);
    FakeCluster cluster = lessons_cluster(lesson->settings);
    policy::HardeningException exception;
    exception.name = "all-of-it";
    exception.namespaces = {"team-a", ""};
    exception.controls = {std::string(guard.id)};
    exception.expires = kNow + 1000;
    cluster.rules_["team-a"].exceptions = {
        std::make_shared<const policy::HardeningException>(std::move(exception))};
    const Outcome bad = ask(lesson->bad, cluster);
    EXPECT_THAT(bad.denied_controls, ElementsAre(guard.id)) << bad.body;
    EXPECT_THAT(bad.exceptions, IsEmpty());
  }
}

}  // namespace
}  // namespace palisade::webhook::testing
