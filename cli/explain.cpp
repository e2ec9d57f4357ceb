#include "explain.h"

#include <algorithm>
#include <memory>
#include <ostream>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <policy/guards.h>

#include "commands.h"
#include "controls_doc.h"
#include "json_out.h"
#include "lessons.h"
#include "text.h"

namespace palisade::cli {

std::string known_control(const std::string& id) {
  if (policy::find_control(id) != nullptr) return {};
  std::string folded;
  for (const char c : id.substr(0, 64)) {
    if (c >= 'A' && c <= 'Z') {
      folded += static_cast<char>(c - 'A' + 'a');
    } else {
      folded += c == '_' || c == ' ' ? '-' : c;
    }
  }
  std::vector<std::pair<std::size_t, std::string_view>> near;
  for (const auto table : {policy::controls(), policy::guards()}) {
    for (const policy::Control& control : table) {
      const bool part = folded.size() >= 3 && control.id.find(folded) != std::string_view::npos;
      const std::size_t far = part ? 0 : distance(folded, control.id);
      if (part || far * 2 <= std::max(folded.size(), std::size_t{4}))
        near.emplace_back(far, control.id);
    }
  }
  std::ranges::stable_sort(near, {}, &std::pair<std::size_t, std::string_view>::first);
  if (near.size() > 3) near.resize(3);
  std::string out = "there is no control \"" + printable(id) + "\"";
  for (std::size_t i = 0; i < near.size(); ++i) {
    out += i == 0 ? "; did you mean " : i + 1 == near.size() ? " or " : ", ";
    out += near[i].second;
  }
  return out + (near.empty() ? " (palisade controls lists them)" : "?");
}

std::string known_control_of_pods(const std::string& id) {
  const policy::Control* const control = policy::find_control(id);
  if (control == nullptr || !control->is_guard) return known_control(id);
  return id + " is a guard: it judges requests, never a pod";
}

namespace {

constexpr std::size_t kWidth = 78;

// Words of `text` in lines of `kWidth`, each behind `indent`.
std::string wrapped(std::string_view text, std::string_view indent) {
  std::string out;
  std::string line;
  const auto flush = [&] {
    if (!line.empty()) out.append(indent).append(line).append("\n");
    line.clear();
  };
  while (!text.empty()) {
    const auto space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    if (!line.empty() && indent.size() + line.size() + 1 + word.size() > kWidth) flush();
    if (!line.empty()) line += ' ';
    line += word;
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
  }
  flush();
  return out;
}

std::string indented(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto end = text.find('\n');
    out.append("    ").append(text.substr(0, end)).append("\n");
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

std::string section(std::string_view head, std::string_view text) {
  std::string out = "\n";
  out.append(head).append("\n").append(wrapped(text, "  "));
  return out;
}

}  // namespace

std::string explain_text(const policy::Control& control) {
  std::string out(control.id);
  out += ": ";
  out += control.title;
  out += '\n';
  out += section("Why", control.why);
  const Lesson* const lesson = find_lesson(control.id);
  if (lesson != nullptr) out += section("An attack that it stops", lesson->attack);
  out += section("What to write instead", std::string(control.remedy) + ".");
  if (control.is_guard) {
    out += section("Who sees it",
                   "It judges requests: the webhook sees them as they come. Nothing of it is left "
                   "to find in a manifest or in what runs, and no HardeningException covers it.");
  } else if (control.needs_registry) {
    out += section("Who sees it",
                   "The registries of the images tell: the webhook alone asks them, as pods and "
                   "what makes pods come. `palisade check` and `palisade scan` ask none.");
  } else if (control.needs_cluster) {
    out +=
        section("Who sees it",
                "The pod alone does not tell: the webhook, `palisade check --live` and `palisade "
                "scan` look at the cluster. `palisade check` on files cannot.");
  }
  if (lesson != nullptr) {
    if (!lesson->settings.empty()) out += "\nWith these settings\n" + indented(lesson->settings);
    out += "\nRefused\n" + indented(lesson->bad) +
           (control.is_guard ? "\nAccepted by this guard\n" : "\nAccepted by this control\n") +
           indented(lesson->good);
  }
  out += "\nReferences\n";
  for (const std::string_view reference : control.references)
    out.append("  - ").append(reference).append("\n");
  return out;
}

std::string explain_json(const policy::Control& control) {
  nlohmann::json references = nlohmann::json::array();
  for (const std::string_view reference : control.references)
    references.push_back(reference);
  nlohmann::json out{{"id", control.id},
                     {"title", control.title},
                     {"why", control.why},
                     {"fix", control.remedy},
                     {"needsCluster", control.needs_cluster},
                     {"guard", control.is_guard},
                     {"references", std::move(references)}};
  if (const Lesson* const lesson = find_lesson(control.id)) {
    out["attack"] = lesson->attack;
    out["bad"] = lesson->bad;
    out["good"] = lesson->good;
    if (!lesson->settings.empty()) out["settings"] = lesson->settings;
  }
  return json_text(out);
}

namespace {

constexpr const char* kExplainFooter = R"(
Says what a control or a guard asks, what an attacker gains without it, an attack that it stops,
what to write instead, and shows a manifest (of a guard: a request) that is refused beside one that
is not. Without CONTROL it lists all.

Examples:
  palisade explain
  palisade explain no-host-namespaces
  palisade explain no-secret-in-env -o json

Exit status: 0, or 2 for a control that does not exist (the nearest ones are named).)";

}  // namespace

Command add_explain(CLI::App& parent) {
  auto control = std::make_shared<std::string>();
  auto format = std::make_shared<std::string>("text");
  CLI::App* app = parent.add_subcommand("explain", "Explain a control, with examples");
  app->footer(kExplainFooter);
  app->add_option("CONTROL", *control, "Its id, such as run-as-non-root");
  app->add_option("-o,--output", *format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("FORMAT");
  return {app, [control, format](const Streams& streams) {
            if (control->empty()) {
              streams.out << (*format == "json" ? controls_json()
                                                : controls_text() +
                                                      "\n`palisade explain CONTROL` "
                                                      "says more about one.\n");
              return kCompliant;
            }
            const policy::Control* const found = policy::find_control(*control);
            if (found == nullptr) {
              streams.err << known_control(*control) << '\n';
              return kUnreadable;
            }
            streams.out << (*format == "json" ? explain_json(*found) : explain_text(*found));
            return kCompliant;
          }};
}

}  // namespace palisade::cli
