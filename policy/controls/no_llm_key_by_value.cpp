// no-llm-key-by-value: no key is written into the pod.
//
// | field                                          | allowed                                 |
// | ---------------------------------------------- | --------------------------------------- |
// | CONTAINER.env[*].value of *_API_KEY, *_APIKEY, | absent, "", $(NAME), a placeholder such |
// | a vendor's *_TOKEN                             | as none or dummy                        |
// | CONTAINER.env[*].value                         | nothing that looks like a key           |
// | CONTAINER.command, args, exec probes and hooks | no --*api-key VALUE, no NAME=VALUE of   |
// |                                                | such a name, nothing like a key         |
//
// The value found is never repeated: findings go to logs and terminals.
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "command_lines.h"
#include "controls.h"
#include "llm_keys.h"
#include "report.h"

namespace palisade::policy::table::no_llm_key_by_value {
namespace {

constexpr std::string_view kId = "no-llm-key-by-value";
constexpr std::array kReferences{
    std::string_view("OWASP Top 10 for LLM Applications: Sensitive Information Disclosure"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.4.1"),
    std::string_view("SOC 2: CC6.1"),
};

// Where a key is given: on the words themselves, or to a variable whose name says so.
void check_words(Report& report, const Node& list) {
  bool expected = false;  // the word before was a flag that takes a key
  each_item(
      report, list,
      [&](const Node& word) {
        const auto text = word.text();
        if (text.broken()) {
          report.wrong_type_masked(word, "a text");
          expected = false;
          return;
        }
        const bool given = expected && key_value(text.value);
        expected = key_flag(text.value);
        if (given || gives_key(text.value) || looks_like_key(text.value)) {
          report.masked(word, "(masked)", "gives a key on the command line");
        }
      },
      true);
}

void check_variable(Report& report, const Node& variable) {
  const Node name_node = variable["name"];
  const Node value_node = variable["value"];
  const auto name = name_node.text();
  const auto value = value_node.text();
  if (name.broken()) report.wrong_type_masked(name_node, "a text");
  if (value.broken()) report.wrong_type_masked(value_node, "a text");
  if (!value.present()) return;
  if (names_key(name.value) && key_value(value.value)) {
    report.masked(value_node, "(masked)",
                  "writes the key of " + shown(name.value, 100) + " into the pod");
  } else if (looks_like_key(value.value) || gives_key(value.value)) {
    report.masked(value_node, "(masked)", "looks like a key");
  }
}

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const Container& container : pod.containers()) {
    each_item(
        report, container.env, [&](const Node& variable) { check_variable(report, variable); },
        true);
    each_command_line(container, [&](const Node& words) { check_words(report, words); });
  }
}

// The words of a list are joined by line breaks: what ends a word ends it there too.
std::string twin(const Settings& /*settings*/) {
  const std::string given = "e.?value.orValue('')";
  std::string lists;
  for (const std::string_view list :
       {"command", "args", "livenessProbe.exec.command", "readinessProbe.exec.command",
        "startupProbe.exec.command", "lifecycle.postStart.exec.command",
        "lifecycle.preStop.exec.command"}) {
    lists +=
        (lists.empty() ? "k.c.?" : ", k.c.?") + cel::replaced(list, ".", ".?") + ".orValue([])";
  }
  return cel::containers(
             "k.c.?env.orValue([]).exists(e, " + cel_variable_gives_key("e.name", given) + ")",
             ".env") +
         " + " +
         cel::containers("[" + lists + "].exists(l, [l.map(w, w == '' ? 'none' : w).join('\\n')]" +
                             ".exists(w, " + cel_gives_key("w") + "))",
                         " (a command line)");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No LLM key by value",
    .why =
        "A key in the pod belongs to the agent, to everyone who may read pods, and to every log "
        "that prints one.",
    .remedy = "let the LLM gateway hold the key and give the agent the word none",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_llm_key_by_value
