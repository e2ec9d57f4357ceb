// The permissions document for people, for programs and for a policy engine.
#include <algorithm>
#include <string>
#include <string_view>

#include <policy/json_text.h>
#include <policy/permissions.h>
#include <policy/policy.h>

namespace palisade::policy {

namespace {

void append_member(std::string& out, std::string_view key, std::string_view value) {
  append_json(out, key);
  out += ": ";
  append_json(out, value);
}

void append_grants(std::string& out, const Capability& capability) {
  out += '[';
  bool first = true;
  for (const Grant& grant : capability.grants) {
    out += first ? "\n          {" : ",\n          {";
    first = false;
    append_member(out, "value", grant.value);
    out += ", ";
    if (!grant.detail.empty()) {
      append_member(out, "detail", grant.detail);
      out += ", ";
    }
    append_member(out, "from", grant.from);
    out += '}';
  }
  out += "\n        ]";
}

void append_actor(std::string& out, const Actor& actor) {
  append_json(out, actor.container);
  out += ": {\n      ";
  append_member(out, "role", actor.role);
  out += ",\n      \"capabilities\": {";
  bool first = true;
  for (const Capability& capability : actor.capabilities) {
    out += first ? "\n        " : ",\n        ";
    first = false;
    append_json(out, capability.name);
    out += ": ";
    append_grants(out, capability);
  }
  out += "\n      }\n    }";
}

}  // namespace

std::string permissions_json(const Permissions& permissions) {
  std::string out = "{\n  ";
  append_member(out, "namespace", permissions.ns);
  out += ",\n  ";
  append_member(out, "workspace", permissions.workspace);
  out += ",\n  ";
  append_member(out, "pod", permissions.pod);
  out += ",\n  \"unread\": [";
  bool first = true;
  for (const std::string& object : permissions.unread) {
    out += first ? "" : ", ";
    first = false;
    append_json(out, object);
  }
  out += "],\n  \"actors\": {";
  first = true;
  for (const Actor& actor : permissions.actors) {
    out += first ? "\n    " : ",\n    ";
    first = false;
    append_actor(out, actor);
  }
  return out + "\n  }\n}\n";
}

std::string permissions_rego(const Permissions& permissions) {
  // JSON's texts, lists and objects are Rego's.
  return "# What each container of one session may do: palisade permissions -o rego.\n"
         "package palisade.permissions\n\nsession := " +
         permissions_json(permissions);
}

std::string permissions_text(const Permissions& permissions) {
  std::string out = permissions.workspace.empty()
                        ? "pod " + shown(permissions.ns + "/" + permissions.pod)
                        : "workspace " + shown(permissions.ns + "/" + permissions.workspace);
  out += "\n";
  std::size_t width = 0;
  for (const Actor& actor : permissions.actors) {
    for (const Capability& capability : actor.capabilities)
      width = std::max(width, capability.name.size());
  }
  for (const Actor& actor : permissions.actors) {
    out += "\n" + shown(actor.container) + " (" + actor.role + ")\n";
    for (const Capability& capability : actor.capabilities) {
      std::string name = capability.name;
      for (const Grant& grant : capability.grants) {
        name.resize(width, ' ');
        out += "  " + name + "  " + shown(grant.value);
        if (!grant.detail.empty()) out += "  (" + shown(grant.detail) + ")";
        out += "\n";
        name.clear();
      }
    }
  }
  return out;
}

}  // namespace palisade::policy
