#include "cel_identity.h"

#include <policy/setup_claims.h>

#include "cel.h"
#include "pod_view.h"

namespace palisade::policy::cel {
namespace {

// The rules of identify.cpp. Their patterns read text in lower case; a quick look for the word goes
// before each, so that other people's long scripts cost nothing.

// `aider` as a program, a module or a file of one, in a word of a command line; its sources.
constexpr std::string_view kRunsAider =
    R"((?:^|[^a-z0-9_.\-])aider(?:[_.\-][a-z0-9_.\-]*)?(?:$|[^a-z0-9_./\-]))"
    R"(|(?:^|[^a-z0-9_.\-])aider/(?:__main__|main)\.[a-z0-9_.\-]*(?:$|[^a-z0-9_./\-]))"
    R"(|(?:^|[^a-z0-9_./\-])-[a-z]*maider(?:$|[^a-z0-9])|/aider-ai/)";
// `aider` at the beginning of a word, but for aiders, in the path of an image: in its first part
// where that is no host, in a later part, in the last one where that has no tag, or before its tag;
// never after the @.
constexpr std::string_view kImageNamesAider =
    R"(^(?:(?:[^/@.:]*[^a-z/@.:])?aider(?:[^s/@.:][^/@.:]*|s[a-z][^/@.:]*)?/)"
    R"(|[^/@]*/(?:[^@]*[^a-z@])?aider(?:[^s@][^@]*|s[a-z][^@]*)?/)"
    R"(|(?:[^@]*/)?(?:(?:[^@/:]*[^a-z@/:])?aider(?:[^s@/:][^@/:]*|s[a-z][^@/:]*)?)"
    R"(|(?:[^@/]*[^a-z@/])?aider(?:[^s@/][^@/]*|s[a-z][^@/]*)?:[^@/]*)(?:@|$)))";

// Where a container's words stand; each_command_line() reads the same.
constexpr std::array<std::string_view, 7> kCommandLines{"command",
                                                        "args",
                                                        "livenessProbe.?exec.?command",
                                                        "readinessProbe.?exec.?command",
                                                        "startupProbe.?exec.?command",
                                                        "lifecycle.?postStart.?exec.?command",
                                                        "lifecycle.?preStop.?exec.?command"};

constexpr std::array<std::string_view, 4> kMarks{"palisade.dev/agent", "palisade.dev/workspace",
                                                 "palisade.dev/pool", "palisade.dev/setup"};

// Of the volume v.
std::string is_setups() {
  return "has(v.persistentVolumeClaim) && "
         "v.persistentVolumeClaim.?claimName.orValue('').matches(" +
         text(kSetupClaims) + ")";
}

std::string command_lines(std::string_view separator) {
  std::string out;
  for (const std::string_view line : kCommandLines) {
    if (!out.empty()) out += separator;
    out.append("c.?").append(line).append(".orValue([])");
  }
  return out;
}

std::string owned(std::string_view root) {
  return std::string(root) +
         ".?metadata.?ownerReferences.orValue([]).exists(o, o.kind.lowerAscii() == "
         "'agentworkspace' && o.apiVersion.lowerAscii().startsWith('palisade.dev/'))";
}

// Of the container c.
std::string sets_variable() {
  return "c.?env.orValue([]).exists(e, e.name.lowerAscii().startsWith('aider_') || "
         "e.?valueFrom.?configMapKeyRef.?key.orValue('').lowerAscii().startsWith('aider_') || "
         "e.?valueFrom.?secretKeyRef.?key.orValue('').lowerAscii().startsWith('aider_')) || "
         "c.?envFrom.orValue([]).exists(e, "
         "e.?prefix.orValue('').lowerAscii().startsWith('aider_'))";
}

std::string names_image(std::string_view optional) {
  return "[" + std::string(optional) +
         ".orValue('').lowerAscii()].exists(i, i.contains('aider') && i.matches(" +
         text(kImageNamesAider) + "))";
}

// What could_be_agent() looks through; a pod with more is one that could be.
constexpr std::size_t kMostLabels = 100;
constexpr std::size_t kMostOwners = 50;
constexpr std::size_t kMostVolumes = 200;
constexpr std::size_t kMostContainers = 32;
constexpr std::size_t kMostVariables = 250;  // of a container; sources of variables as well
constexpr std::size_t kMostWords = 250;      // of a container
constexpr std::size_t kLongestWords = 4096;  // together, of a container

// What a command line must have for runs_aider() of identify.cpp to hold, in any of its layers:
// the five letters with nothing but quotes between them, a reference, or what is decoded: Base64
// with two capitals, perhaps with quotes in it. Words are joined by spaces, which end each of
// these.
constexpr std::string_view kMayRunAider =
    R"((?i:a['"\\]*i['"\\]*d['"\\]*e['"\\]*r)|\$|[A-Z][A-Za-z0-9+/_\-\r\n'"\\]*[A-Z])";

// Whether the optional member is a list (or map) longer than `most`, or one of whose items, `name`,
// the condition holds. has() is a fraction of what an optional costs, and most pods have few of
// these.
std::string some(const std::string& member, std::size_t most, std::string_view name,
                 std::string_view condition) {
  std::string out = "has(" + member + ") && (size(" + member + ") > " + std::to_string(most);
  return out.append(" || ")
             .append(member)
             .append(".exists(")
             .append(name)
             .append(", ")
             .append(condition) +
         "))";
}

std::string begins(std::string_view text_of) {
  return std::string(text_of) + ".lowerAscii().startsWith('aider_')";
}

std::string has_words() {
  std::string out;
  for (const std::string_view member :
       {"command", "args", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"}) {
    if (!out.empty()) out += " || ";
    out.append("has(c.").append(member).append(")");
  }
  return "(" + out + ")";
}

// Of the container c.
std::string container_could_be() {
  return "c.?image.orValue('').lowerAscii().contains('aider') || " + has_words() + " && [" +
         command_lines(" + ") + "].exists(l, size(l) > " + std::to_string(kMostWords) +
         " || [l.join(' ')].exists(t, size(t) > " + std::to_string(kLongestWords) +
         " || t.matches(" + text(kMayRunAider) + "))) || " +
         some("c.env", kMostVariables, "e",
              begins("e.name") + " || has(e.valueFrom) && (" +
                  begins("e.valueFrom.?configMapKeyRef.?key.orValue('')") + " || " +
                  begins("e.valueFrom.?secretKeyRef.?key.orValue('')") + ")") +
         " || " + some("c.envFrom", kMostVariables, "e", begins("e.?prefix.orValue('')"));
}

}  // namespace

std::string containers_of(std::string_view root) {
  std::string out;
  for (const std::string_view list : kContainerLists) {
    if (!out.empty()) out += " + ";
    out.append(root).append(".?spec.?").append(list).append(".orValue([])");
  }
  return out;
}

std::string reason_of(std::string_view root, std::string_view containers) {
  const std::string pod(root);
  const std::string each(containers);
  std::string out;
  for (const std::string_view label : kMarks) {
    out += pod + ".?metadata.?labels.orValue({}).exists(l, l.lowerAscii() == " + text(label) +
           ") ? " + text("the label " + std::string(label) + " is set") + " : ";
  }
  std::string crowded;
  for (const std::string_view list : kContainerLists) {
    if (!crowded.empty()) crowded += " || ";
    crowded += "size(" + pod + ".?spec.?" + std::string(list) + ".orValue([])) > " +
               std::to_string(kMaxContainers);
  }
  return out + owned(root) + " ? 'an AgentWorkspace owns it' : " + crowded +
         " ? 'it has too many containers to look through' : " + each + ".exists(c, " +
         names_image("c.?image") + ") ? 'aider is in the path of an image' : " + each +
         // As it stands, and without a shell's quotes.
         ".exists(c, [" + command_lines(", ") +
         "].exists(l, l.exists(w, [w.lowerAscii(), w.lowerAscii().replace('\\'', '').replace('\"', "
         "'').replace('\\\\', '')].exists(t, t.contains('aider') && t.matches(" +
         text(kRunsAider) + "))))) ? 'a command line runs aider' : " + each + ".exists(c, " +
         sets_variable() + ") ? 'an AIDER_* variable is set' : " + pod +
         ".?spec.?volumes.orValue([]).exists(v, " + names_image("v.?image.?reference") +
         ") ? 'aider is in the path of an image that is mounted' : " + pod +
         ".?spec.?volumes.orValue([]).exists(v, " + is_setups() + ") ? " +
         text("it mounts what a workspace's setup has made") + " : ''";
}

std::string could_be_agent(std::string_view root) {
  const std::string pod(root);
  // A key's prefix has no capitals: the API server has seen to it.
  return some(pod + ".metadata.labels", kMostLabels, "k", "k.startsWith('palisade.dev/')") +
         " || has(" + pod + ".metadata.ownerReferences) && (size(" + pod +
         ".metadata.ownerReferences) > " + std::to_string(kMostOwners) + " || " + owned(root) +
         ") || [has(" + pod + ".spec.initContainers) || has(" + pod +
         ".spec.ephemeralContainers) ? " + containers_of(root) + " : " + pod +
         ".spec.containers].exists(cs, size(cs) > " + std::to_string(kMostContainers) +
         " || cs.exists(c, " + container_could_be() + ")) || " +
         some(pod + ".spec.volumes", kMostVolumes, "v",
              "has(v.image) && v.image.?reference.orValue('').lowerAscii().contains('aider') || " +
                  is_setups());
}

}  // namespace palisade::policy::cel
