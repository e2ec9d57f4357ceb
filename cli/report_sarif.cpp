// Findings as SARIF 2.1.0: the controls and the guards are the list of rules.
// Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
#include <map>
#include <ostream>

#include <nlohmann/json.hpp>

#include <policy/guards.h>

#include "json_out.h"
#include "report.h"
#include "text.h"

namespace palisade::cli {
namespace {

using nlohmann::json;

std::string text(std::string_view view) {
  return std::string(view);
}

json rule(const policy::Control& control) {
  std::string plain = text(control.why) + "\n\nFix: " + text(control.remedy) + "\n\nReferences:";
  std::string markdown =
      text(control.why) + "\n\n**Fix:** " + text(control.remedy) + "\n\n**References:**\n";
  json references = json::array();
  for (const std::string_view reference : control.references) {
    plain += "\n- " + text(reference);
    markdown += "\n- " + text(reference);
    references.push_back(reference);
  }
  return {{"id", control.id},
          {"name", control.id},
          {"shortDescription", {{"text", control.title}}},
          {"fullDescription", {{"text", control.why}}},
          {"help", {{"text", plain}, {"markdown", markdown}}},
          {"defaultConfiguration", {{"level", "error"}}},
          {"properties",
           {{"tags", {"security", "kubernetes"}},
            {"security-severity", "8.0"},
            {"references", std::move(references)}}}};
}

std::string_view level(Effect effect) {
  switch (effect) {
    case Effect::deny:
      return "error";
    case Effect::warn:
      return "warning";
    case Effect::audit:
    case Effect::except:
      return "note";
  }
  return "error";
}

json location(const Judged& pod, const Found& found) {
  const std::string object = pod.space.empty() ? pod.name : pod.space + "/" + pod.name;
  json out{{"logicalLocations",
            {{{"name", found.finding.field},
              {"kind", "member"},
              {"fullyQualifiedName", pod.kind + "/" + object + "#" + found.finding.field}}}}};
  if (pod.file.empty()) return out;
  json artifact{{"uri", pod.file == "-" ? "stdin" : uri_path(pod.file)}};
  if (!pod.file.starts_with('/')) artifact["uriBaseId"] = "SRCROOT";
  json region{{"startLine", found.place.line > 0 ? found.place.line : pod.line}};
  if (found.place.line > 0) region["startColumn"] = found.place.column;
  out["physicalLocation"] = {{"artifactLocation", std::move(artifact)},
                             {"region", std::move(region)}};
  return out;
}

// The same as long as the object and the field are the same, whatever moves above them in the file.
std::string fingerprint(const Judged& pod, const policy::Finding& finding) {
  std::string all;
  for (const std::string_view part :
       {std::string_view(pod.file), std::string_view(pod.kind), std::string_view(pod.space),
        std::string_view(pod.name), finding.control, std::string_view(finding.field)}) {
    all += std::to_string(part.size()) + ":";
    all += part;
  }
  return sha256(all);
}

}  // namespace

void print_sarif(const Outcome& outcome, std::ostream& out) {
  json rules = json::array();
  std::map<std::string_view, std::size_t> places;
  for (const auto table : {policy::controls(), policy::guards()}) {
    for (const policy::Control& control : table) {
      places.emplace(control.id, rules.size());
      rules.push_back(rule(control));
    }
  }
  json results = json::array();
  // Two objects of one name in one file have one fingerprint: the count tells them apart.
  std::map<std::string, int> seen;
  for (const Judged& pod : outcome.pods) {
    for (const Found& found : pod.found) {
      const policy::Finding& finding = found.finding;
      const std::string print = fingerprint(pod, finding);
      json result{{"ruleId", finding.control},
                  {"level", level(found.effect)},
                  {"kind", "fail"},
                  {"message",
                   {{"text", pod.title() + ": " + printable(finding.field) + " is " +
                                 printable(finding.found) + ": " + printable(finding.message)}}},
                  {"locations", json::array({location(pod, found)})},
                  {"partialFingerprints",
                   {{"palisadeFinding/v1", print + ":" + std::to_string(++seen[print])}}}};
      if (const auto place = places.find(finding.control); place != places.end()) {
        result["ruleIndex"] = place->second;
      }
      if (found.effect == Effect::except) {
        result["suppressions"] =
            json::array({{{"kind", "external"},
                          {"status", "accepted"},
                          {"justification", "HardeningException " + found.exception}}});
      }
      results.push_back(std::move(result));
    }
  }
  const json document{
      {"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
      {"version", "2.1.0"},
      {"runs",
       json::array({{{"tool",
                      {{"driver",
                        {{"name", "palisade"},
                         {"semanticVersion", PALISADE_VERSION},
                         {"version", PALISADE_VERSION},
                         {"rules", std::move(rules)}}}}},
                     {"columnKind", "unicodeCodePoints"},
                     {"originalUriBaseIds",
                      {{"SRCROOT", {{"description", {{"text", "where palisade was started"}}}}}}},
                     {"invocations", json::array({{{"executionSuccessful", !outcome.unreadable}}})},
                     {"results", std::move(results)}}})}};
  out << json_text(document);
}

}  // namespace palisade::cli
