// An AgentWorkspaceTemplate: what a platform team fixes of the workspaces that name it, and which
// of it they may choose themselves. Pure: a template and a workspace in, the fields to fill in and
// the findings out.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <policy/policy.h>

namespace palisade::policy {

struct WorkspaceTemplate {
  // One value of spec.workspace that is no object: a scalar or a whole list.
  struct Field {
    std::vector<std::string> path;  // below the workspace's spec: agent, model
    std::string value;              // as JSON
    bool overridable = false;
  };
  std::string name;
  std::string version;  // UID/GENERATION: tells this template's content from any other
  std::vector<Field> fields;

  // The schema may have been by-passed: everything that counts is checked again. An error names the
  // field.
  [[nodiscard]] static std::expected<WorkspaceTemplate, std::string> parse(
      simdjson::dom::element object);
};

// On a workspace: the version of the template that was filled in. Written by the webhook alone.
inline constexpr std::string_view kTemplateAnnotation = "palisade.dev/template";

// spec.templateRef.name; "" where there is none. An error where it cannot be read.
[[nodiscard]] std::expected<std::string_view, std::string> template_of(
    simdjson::dom::element workspace);

// What becomes of a workspace under its template.
struct Merge {
  struct Fill {
    std::vector<std::string> path;  // below the workspace's spec
    std::string value;              // as JSON
  };
  // Fields that the workspace leaves out, with the value that they get.
  std::vector<Fill> fills;
  // Fields that the template fixes and the workspace has otherwise (control workspace-bounds).
  std::vector<Finding> findings;
};

// `before` is the workspace as it stands, on an update. What it had it keeps: a template that was
// changed meanwhile neither loosens nor breaks a workspace that was made before. Its `given`
// nullptr: the template has gone, and then nothing that one may fix changes.
[[nodiscard]] Merge merge(const WorkspaceTemplate* given, simdjson::dom::element workspace,
                          const simdjson::dom::element* before);

// The fills as operations of a JSON patch (RFC 6902) on the workspace, each followed by a comma.
[[nodiscard]] std::string patch_operations(const std::vector<Merge::Fill>& fills,
                                           simdjson::dom::element workspace);

}  // namespace palisade::policy
