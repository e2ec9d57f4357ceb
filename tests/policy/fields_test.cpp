// The table of fields by itself: complete in what it says, and quick to ask.
#include <set>

#include <gtest/gtest.h>
#include <pod_fields.h>

#include "policy/fixture.h"

namespace palisade::policy::testing {
namespace {

TEST(Fields, EachIsFoundByItsNameAndNoOther) {
  for (std::size_t type = 0; type < pod_types().size(); ++type) {
    const PodType& known = pod_types()[type];
    std::set<std::string_view> names;
    for (const PodField& field : known.fields) {
      SCOPED_TRACE(std::string(known.name) + "." + std::string(field.name));
      EXPECT_TRUE(names.insert(field.name).second) << "twice";
      EXPECT_EQ(find_field(static_cast<TypeIndex>(type), field.name), &field);
    }
    for (const std::string_view name : {"", "x", "aFieldOfTheFuture", "Name", "hostnetwork"})
      EXPECT_EQ(find_field(static_cast<TypeIndex>(type), name), nullptr) << known.name << name;
    EXPECT_LT(known.fields.size(), 64U) << "the index has 128 slots";
  }
}

TEST(Fields, EachThatIsJudgedNamesAControl) {
  for (const PodType& type : pod_types()) {
    EXPECT_TRUE(type.others.empty() || find_control(type.others) != nullptr) << type.name;
    for (const PodField& field : type.fields) {
      SCOPED_TRACE(std::string(type.name) + "." + std::string(field.name));
      const bool named =
          field.kind == PodField::Kind::judged || field.kind == PodField::Kind::refused;
      EXPECT_EQ(!field.control.empty(), named);
      EXPECT_EQ(find_control(field.control) != nullptr, named) << field.control;
    }
  }
}

// Every type is reached from PodSpec, and none from itself: the walk ends.
TEST(Fields, NestWithoutEnd) {
  std::set<TypeIndex> reached;
  std::vector<TypeIndex> above;
  const auto visit = [&](const auto& self, TypeIndex type) -> void {
    EXPECT_EQ(std::ranges::count(above, type), 0) << pod_types()[type].name << " is inside itself";
    if (!above.empty() && std::ranges::count(above, type) != 0) return;
    reached.insert(type);
    above.push_back(type);
    for (const PodField& field : pod_types()[type].fields) {
      if (field.kind == PodField::Kind::object || field.kind == PodField::Kind::list)
        self(self, field.type);
    }
    above.pop_back();
  };
  visit(visit, 0);
  EXPECT_EQ(reached.size(), pod_types().size());
  EXPECT_EQ(pod_types()[0].name, "PodSpec");
}

// Whoever wrote a field that nobody knows may have written a secret into it.
TEST(Fields, ValuesOfUnknownOnesAreNotRepeated) {
  json pod = good_pod();
  pod["spec"]["containers"][0]["apiKeys"] = {"hunter2"};
  const auto findings = findings_of(pod);
  ASSERT_EQ(findings.size(), 1U) << tell(findings);
  EXPECT_EQ(findings[0].control, "known-fields");
  EXPECT_EQ(findings[0].field, "spec.containers[0].apiKeys");
  EXPECT_EQ(findings[0].found, "(a list)");
}

}  // namespace
}  // namespace palisade::policy::testing
