// The table of fields against the API server's own description of them: what it serves and the
// table does not know would be refused in good pods, or would have been forgotten in bad ones.
#include <map>
#include <set>

#include <gtest/gtest.h>
#include <pod_fields.h>

#include <kube/client.h>
#include <kube/envtest.h>

#include "policy/fixture.h"

namespace palisade::policy::testing {
namespace {

// Fields that are only in other versions of Kubernetes than the one that is built here, as
// "Type.field".
const std::set<std::string> kOfOtherVersions{};

constexpr const char* kCore = "io.k8s.api.core.v1.";

// The schema that a property refers to, as a single reference or one wrapped to carry a default.
std::string reference(const json& schema) {
  if (schema.contains("$ref")) return schema.at("$ref");
  for (const json& part : schema.value("allOf", json::array())) {
    if (part.contains("$ref")) return part.at("$ref");
  }
  return {};
}

struct Walk {
  const json& schemas;
  std::map<TypeIndex, std::string> seen;
  int fields = 0;

  // Only objects with fields of their own: quantities, times and maps are values to the table.
  [[nodiscard]] std::string object_of(const json& property) const {
    const std::string to = reference(property);
    if (to.empty()) return {};
    std::string name = to.substr(to.rfind('/') + 1);
    return schemas.at(name).contains("properties") ? name : std::string();
  }

  void type(TypeIndex index, const std::string& schema) {
    const PodType& known = pod_types()[index];
    const std::string short_name = schema.substr(schema.rfind('.') + 1);
    SCOPED_TRACE(short_name);
    EXPECT_EQ(known.name, short_name);
    if (!seen.emplace(index, schema).second) return;
    const json& properties = schemas.at(schema).at("properties");
    for (const auto& [name, property] : properties.items()) {
      ++fields;
      const PodField* const field = find_field(index, name);
      if (field == nullptr) {
        ADD_FAILURE() << short_name << "." << name << " is not classified in policy/pod_fields.cpp";
        continue;
      }
      const bool is_list = property.value("type", "") == "array";
      const std::string inner = object_of(is_list ? property.at("items") : property);
      const bool walked =
          field->kind == PodField::Kind::object || field->kind == PodField::Kind::list;
      if (walked) {
        EXPECT_EQ(field->kind == PodField::Kind::list, is_list) << name;
        EXPECT_FALSE(inner.empty()) << name << " has no fields of its own";
        if (!inner.empty()) type(field->type, inner);
      } else if (field->kind == PodField::Kind::harmless) {
        EXPECT_TRUE(inner.empty() || inner.ends_with(".FieldsV1"))
            << name << " is an object: its own fields must be classified";
      }
    }
    for (const PodField& field : known.fields) {
      const std::string full = short_name + "." + std::string(field.name);
      EXPECT_NE(properties.contains(std::string(field.name)), kOfOtherVersions.contains(full))
          << full
          << (kOfOtherVersions.contains(full) ? " is served here after all" : " is no more");
    }
  }
};

TEST(FieldsIntegration, TheTableIsTheApiServers) {
  auto started = kube::EnvTest::start();
  ASSERT_TRUE(started) << started.error().text();
  const auto client =
      kube::Client::connect((*started)->config(), kube::Client::TransportKind::kBeast);
  const auto document = client->get_raw("/openapi/v3/api/v1");
  ASSERT_TRUE(document) << document.error().text();
  const json openapi = json::parse(*document);
  Walk walk{openapi.at("components").at("schemas"), {}};
  walk.type(0, std::string(kCore) + "PodSpec");
  EXPECT_EQ(walk.seen.size(), pod_types().size());
  EXPECT_GT(walk.fields, 300);
}

}  // namespace
}  // namespace palisade::policy::testing
