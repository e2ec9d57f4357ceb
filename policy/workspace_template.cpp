#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include <policy/guards.h>
#include <policy/json_text.h>
#include <policy/workspace_template.h>

#include "object_reader.h"
#include "permissions_reader.h"

namespace palisade::policy {

namespace {

using simdjson::dom::element;
using Path = std::vector<std::string>;

// Parts of a workspace's spec that a template may fix: how the session is held, and never what it
// works on.
constexpr std::array<std::string_view, 5> kParts{"agent", "isolation", "lifecycle", "llm", "setup"};
// mount and outputDir of it may be fixed too. They never change, so that what a template that has
// gone fixed of them holds by itself.
constexpr std::string_view kRepository = "repository";
// A switch of one session, no bound of all.
constexpr std::string_view kSuspend = "suspend";
constexpr std::size_t kMostFields = 256;
constexpr std::size_t kMostDepth = 8;
constexpr std::size_t kMostShown = 120;

struct Broken {
  std::string message;
};

std::string dotted(const Path& path) {
  std::string out;
  for (const std::string& part : path)
    out += (out.empty() ? "" : ".") + part;
  return out;
}

std::string field_of(const Path& path) {
  return "spec." + dotted(path);
}

// As the API server sends JSON, members sorted: equal values have equal texts.
std::string json_of(const element& value) {
  return simdjson::minify(value);
}

std::string shown_value(const std::string& text) {
  return text.size() <= kMostShown ? text : text.substr(0, kMostShown) + "...";
}

// The value at the path; nullopt where it is absent or null. False in `sound` where something on
// the way is no object or stands there twice.
std::optional<element> at(const element& object, const Path& path, bool& sound) {
  element value = object;
  for (const std::string& part : path) {
    simdjson::dom::object members;
    if (value.get(members) != simdjson::SUCCESS) {
      sound = false;
      return std::nullopt;
    }
    std::optional<element> found;
    for (const auto [key, member] : members) {
      if (key != part) continue;
      if (found) sound = false;
      found = member;
    }
    if (!found || found->is_null()) return std::nullopt;
    value = *found;
  }
  return value;
}

Path below_spec(const Path& path) {
  Path out{"spec"};
  out.insert(out.end(), path.begin(), path.end());
  return out;
}

void collect(const element& value, Path& path, std::vector<WorkspaceTemplate::Field>& out) {
  if (value.is_null()) return;
  simdjson::dom::object members;
  if (value.get(members) != simdjson::SUCCESS) {
    if (out.size() == kMostFields) throw Broken{"spec.workspace fixes more than 256 fields"};
    out.push_back({path, json_of(value), false});
    return;
  }
  if (path.size() == kMostDepth)
    throw Broken{"spec.workspace." + dotted(path) + " is nested too deep"};
  std::set<std::string_view> seen;
  for (const auto [key, member] : members) {
    if (!seen.insert(key).second)
      throw Broken{"spec.workspace." + dotted(path) + ": " + std::string(key) + " is given twice"};
    path.emplace_back(key);
    collect(member, path, out);
    path.pop_back();
  }
}

bool covers(const Path& prefix, const Path& path) {
  return prefix.size() <= path.size() && std::equal(prefix.begin(), prefix.end(), path.begin());
}

Path split(std::string_view text) {
  Path out;
  for (std::size_t from = 0; from <= text.size();) {
    const std::size_t end = std::min(text.find('.', from), text.size());
    out.emplace_back(text.substr(from, end - from));
    from = end + 1;
  }
  return out;
}

void read_overridable(const std::vector<std::string>& named, WorkspaceTemplate& out) {
  for (std::size_t i = 0; i < named.size(); ++i) {
    const Path path = split(named[i]);
    bool any = false;
    for (WorkspaceTemplate::Field& field : out.fields) {
      if (!covers(path, field.path)) continue;
      any = true;
      field.overridable = true;
    }
    if (!any) {
      throw Broken{"spec.overridable[" + std::to_string(i) + "]: \"" + shown(named[i], 64) +
                   "\" names nothing that spec.workspace sets; write a path such as agent.model, "
                   "or leave it out: what the template does not set is free"};
    }
  }
}

// Whether both sides have the same there.
bool same(const element& a, const element& b, const Path& path, bool& sound) {
  const auto one = at(a, path, sound);
  const auto other = at(b, path, sound);
  if (!one || !other) return !one && !other;
  return json_of(*one) == json_of(*other);
}

Finding finding(const Path& path, std::string found, std::string message) {
  return {kWorkspaceBounds, field_of(path), std::move(found), std::move(message)};
}

// Nobody knows any more what was fixed: all of it is.
void hold_still(const element& workspace, const element& before, Merge& out) {
  bool sound = true;
  for (const std::string_view part : kParts) {
    const Path path = below_spec({std::string(part)});
    std::set<std::string> names;
    for (const element* side : {&workspace, &before}) {
      const auto value = at(*side, path, sound);
      simdjson::dom::object members;
      if (!value || value->get(members) != simdjson::SUCCESS) continue;
      for (const auto [key, member] : members)
        names.emplace(key);
    }
    for (const std::string& name : names) {
      if (part == "lifecycle" && name == kSuspend) continue;
      const Path inner{std::string(part), name};
      if (same(workspace, before, below_spec(inner), sound)) continue;
      out.findings.push_back(finding(inner, "(changed)",
                                     "the workspace's template has gone, so that nothing that it "
                                     "may have fixed can change: leave it as it was, or make "
                                     "another AgentWorkspace"));
    }
  }
  if (!sound)
    out.findings.push_back({kWorkspaceBounds, "spec", "not understood",
                            "a field has the wrong type or is given twice"});
}

}  // namespace

std::expected<WorkspaceTemplate, std::string> WorkspaceTemplate::parse(element object) {
  WorkspaceTemplate out;
  out.name = text_at(object, "/metadata/name");
  const std::int64_t generation = int_at(object, "/metadata/generation").value_or(0);
  out.version = text_at(object, "/metadata/uid") + "/" + std::to_string(generation);
  element spec;
  if (object["spec"].get(spec) != simdjson::SUCCESS) return std::unexpected("spec is missing");
  std::vector<std::string> named;
  try {
    // One of kParts, which stays where it is.
    const auto part = [&](const std::string_view& name) {
      return std::pair<std::string_view, FieldReader>{name, [&out, &name](element value) {
                                                        if (!value.is_object())
                                                          return std::string("an object");
                                                        Path path{std::string(name)};
                                                        collect(value, path, out.fields);
                                                        return std::string();
                                                      }};
    };
    // Of what it works on this alone is how the session is held.
    const auto shape = [&](const char* name) {
      return std::pair<std::string_view, FieldReader>{
          name, [&out, name](element value) {
            std::string given;
            std::string wanted = read_text(value, given);
            if (wanted.empty())
              out.fields.push_back({{std::string(kRepository), name}, json_of(value), false});
            return wanted;
          }};
    };
    const FieldReader repository = [&](element value) -> std::string {
      if (auto done = read_members(value, "spec.workspace.repository",
                                   {shape("mount"), shape("outputDir")});
          !done)
        return done.error();
      return {};
    };
    const FieldReader workspace = [&](element value) -> std::string {
      if (auto done = read_members(value, "spec.workspace",
                                   {part(kParts[0]),
                                    part(kParts[1]),
                                    part(kParts[2]),
                                    part(kParts[3]),
                                    part(kParts[4]),
                                    {kRepository, repository}});
          !done)
        return done.error();
      return {};
    };
    const FieldReader overridable = [&](element value) { return read_texts(value, named); };
    if (auto done =
            read_members(spec, "spec", {{"workspace", workspace}, {"overridable", overridable}});
        !done)
      return std::unexpected(done.error());
    for (const Field& field : out.fields) {
      if (field.path == Path{"lifecycle", std::string(kSuspend)})
        return std::unexpected(
            "spec.workspace.lifecycle.suspend is a switch of each workspace; leave it out");
      if (field.path.size() > 1 && field.path[0] == "llm" && field.path[1] == "keySecretRef")
        return std::unexpected(
            "spec.workspace.llm.keySecretRef: a template holds no reference to a key; name it in "
            "the workspace");
    }
    if (out.fields.empty())
      return std::unexpected("spec.workspace fixes nothing; set a field such as agent.image");
    read_overridable(named, out);
  } catch (const Broken& broken) {
    return std::unexpected(broken.message);
  }
  return out;
}

std::expected<std::string_view, std::string> template_of(element workspace) {
  bool sound = true;
  const auto reference = at(workspace, {"spec", "templateRef"}, sound);
  if (sound && !reference) return std::string_view();
  std::string_view name;
  if (!sound || (*reference)["name"].get(name) != simdjson::SUCCESS || name.empty())
    return std::unexpected("spec.templateRef must name an AgentWorkspaceTemplate: {name: NAME}");
  return name;
}

Merge merge(const WorkspaceTemplate* given, element workspace, const element* before) {
  Merge out;
  if (given == nullptr) {
    if (before != nullptr) hold_still(workspace, *before, out);
    return out;
  }
  for (const WorkspaceTemplate::Field& field : given->fields) {
    bool sound = true;
    const Path path = below_spec(field.path);
    const auto value = at(workspace, path, sound);
    const auto had = before != nullptr ? at(*before, path, sound) : std::nullopt;
    if (!sound) {
      out.findings.push_back(finding(field.path, "not understood",
                                     "a field on the way has the wrong type or is given twice"));
    } else if (!value) {
      // A manifest that replaces the object knows nothing of what was filled in.
      if (before == nullptr) out.fills.push_back({field.path, field.value});
      if (had) out.fills.push_back({field.path, json_of(*had)});
    } else if (const std::string text = json_of(*value);
               text != field.value && !field.overridable && !(had && json_of(*had) == text)) {
      out.findings.push_back(
          finding(field.path, shown_value(text),
                  "AgentWorkspaceTemplate " + shown(given->name, 64) + " fixes it at " +
                      shown_value(field.value) +
                      ": leave it out, or have the template name it in spec.overridable"));
    }
  }
  return out;
}

std::string patch_operations(const std::vector<Merge::Fill>& fills, element workspace) {
  std::string out;
  std::set<std::string> made;
  for (const Merge::Fill& fill : fills) {
    std::string pointer;
    Path so_far;
    const Path path = below_spec(fill.path);
    for (std::size_t i = 0; i + 1 < path.size(); ++i) {
      append_pointer_part(pointer, path[i]);
      so_far.push_back(path[i]);
      bool sound = true;
      if (at(workspace, so_far, sound) || !made.insert(pointer).second) continue;
      out += R"({"op":"add","path":)";
      append_json(out, pointer);
      out += R"(,"value":{}},)";
    }
    append_pointer_part(pointer, path.back());
    out += R"({"op":"add","path":)";
    append_json(out, pointer);
    out += R"(,"value":)" + fill.value + "},";
  }
  return out;
}

}  // namespace palisade::policy
