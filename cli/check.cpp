#include "check.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <expected>
#include <fstream>
#include <istream>
#include <ostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <simdjson.h>

#include <cli/cli.h>
#include <policy/policy.h>

#include "pods.h"
#include "yaml_json.h"

namespace palisade::cli {
namespace {

using nlohmann::json;
using policy::Finding;

// One pod and what was found of it.
struct Judged {
  std::string file;
  std::size_t line = 1;  // of its document
  std::string kind, space, name, prefix;
  std::string reason;  // why it is an Aider pod; "" where it is none
  bool checked = false;
  std::vector<Finding> findings;
};

struct Outcome {
  std::vector<Judged> pods;
  std::size_t others = 0;
  bool unreadable = false;
};

std::string shown(const std::string& file) {
  return file == "-" ? "<stdin>" : file;
}

std::expected<std::string, std::string> read_all(std::istream& in) {
  std::string text;
  std::array<char, 65536> buffer{};
  while (in.read(buffer.data(), buffer.size()) || in.gcount() > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(in.gcount()));
    if (text.size() > kMaxInput) break;  // the reader says so
  }
  if (in.bad()) return std::unexpected(std::string("cannot be read: ") + std::strerror(errno));
  return text;
}

std::expected<std::string, std::string> read_file(const std::string& file, std::istream& in) {
  if (file == "-") return read_all(in);
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return std::unexpected(std::string("cannot be opened: ") + std::strerror(errno));
  // Opening a directory succeeds; only reading fails.
  stream.peek();
  if (stream.bad()) return std::unexpected("cannot be read: is it a directory?");
  stream.clear();
  return read_all(stream);
}

std::string place(const std::string& file, const ReadError& error) {
  return fmt::format("{}:{}:{}: {}", shown(file), error.line, error.column, error.message);
}

std::expected<policy::Settings, std::string> read_settings(const std::string& file,
                                                           std::istream& in) {
  if (file.empty()) return policy::Settings{};
  const auto text = read_file(file, in);
  if (!text) return std::unexpected(fmt::format("{}: {}", shown(file), text.error()));
  const auto documents = read_documents(*text);
  if (!documents) return std::unexpected(place(file, documents.error()));
  if (documents->size() != 1) {
    return std::unexpected(
        fmt::format("{}:1:1: must hold one document, not {}", shown(file), documents->size()));
  }
  auto settings = policy::parse_settings(documents->front().json);
  if (!settings) {
    return std::unexpected(
        fmt::format("{}:{}:1: {}", shown(file), documents->front().line, settings.error()));
  }
  return settings;
}

void judge(Judged& judged, simdjson::dom::element pod, const policy::Settings& settings,
           const CheckOptions& options) {
  judged.reason = policy::agent_reason(pod);
  judged.checked = options.all || !judged.reason.empty();
  if (!judged.checked) return;
  judged.findings = policy::evaluate(pod, settings, judged.prefix);
  std::erase_if(judged.findings, [&](const Finding& finding) {
    return std::ranges::find(options.skip, finding.control) != options.skip.end();
  });
}

// One file; the error has its place.
std::expected<void, std::string> check_file(const std::string& file, const std::string& text,
                                            const policy::Settings& settings,
                                            const CheckOptions& options, Outcome& outcome) {
  const auto documents = read_documents(text);
  if (!documents) return std::unexpected(place(file, documents.error()));
  if (documents->empty()) {
    return std::unexpected(shown(file) + ":1:1: there is no Kubernetes object in it");
  }
  for (const Document& document : *documents) {
    simdjson::dom::parser parser;
    simdjson::dom::element root;
    if (const auto error = parser.parse(document.json).get(root); error != simdjson::SUCCESS) {
      return std::unexpected(
          fmt::format("{}:{}:1: {}", shown(file), document.line, simdjson::error_message(error)));
    }
    Contents contents = find_pods(root);
    if (!contents.problem.empty()) {
      return std::unexpected(
          fmt::format("{}:{}:1: {}", shown(file), document.line, contents.problem));
    }
    outcome.others += contents.others;
    for (PodPlace& pod : contents.pods) {
      Judged judged{shown(file),
                    document.line,
                    std::move(pod.kind),
                    std::move(pod.space),
                    std::move(pod.name),
                    std::move(pod.prefix),
                    {},
                    false,
                    {}};
      judge(judged, pod.pod, settings, options);
      outcome.pods.push_back(std::move(judged));
    }
  }
  return {};
}

struct Counts {
  std::size_t compliant = 0, failing = 0, passed_over = 0, findings = 0;
};

Counts count(const Outcome& outcome) {
  Counts counts;
  for (const Judged& pod : outcome.pods) {
    counts.findings += pod.findings.size();
    ++(!pod.checked           ? counts.passed_over
       : pod.findings.empty() ? counts.compliant
                              : counts.failing);
  }
  return counts;
}

// Names come from the file: nothing that moves a cursor may pass.
std::string printable(std::string text) {
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  return text;
}

void print_text(const Outcome& outcome, std::ostream& out) {
  for (const Judged& pod : outcome.pods) {
    const std::string name = printable(pod.space.empty() ? pod.name : pod.space + "/" + pod.name);
    out << fmt::format("{}:{}: {}{}{}", pod.file, pod.line, pod.kind, name.empty() ? "" : " ",
                       name);
    if (!pod.checked) {
      out << ": no Aider pod, not checked (--all checks it)\n";
      continue;
    }
    if (!pod.reason.empty()) out << " (Aider pod: " << pod.reason << ')';
    out << (pod.findings.empty() ? ": compliant" : ": " + policy::explain(pod.findings)) << '\n';
  }
  const Counts counts = count(outcome);
  out << fmt::format("{} {} checked: {} compliant, {} with findings ({})",
                     counts.compliant + counts.failing,
                     counts.compliant + counts.failing == 1 ? "pod" : "pods", counts.compliant,
                     counts.failing, counts.findings);
  if (counts.passed_over > 0) out << fmt::format("; {} no Aider pod", counts.passed_over);
  if (outcome.others > 0) {
    out << fmt::format("; {} other {} skipped", outcome.others,
                       outcome.others == 1 ? "object" : "objects");
  }
  out << '\n';
}

void print_json(const Outcome& outcome, std::ostream& out) {
  json pods = json::array();
  for (const Judged& pod : outcome.pods) {
    json findings = json::array();
    for (const Finding& finding : pod.findings) {
      const policy::Control* control = policy::find_control(finding.control);
      findings.push_back({{"control", finding.control},
                          {"field", finding.field},
                          {"found", finding.found},
                          {"message", finding.message},
                          {"why", control != nullptr ? control->why : ""},
                          {"fix", control != nullptr ? control->remedy : ""}});
    }
    pods.push_back({{"file", pod.file},
                    {"line", pod.line},
                    {"kind", pod.kind},
                    {"namespace", pod.space},
                    {"name", pod.name},
                    {"agent", pod.reason},
                    {"checked", pod.checked},
                    {"findings", std::move(findings)}});
  }
  const Counts counts = count(outcome);
  const json document{{"pods", std::move(pods)},
                      {"summary",
                       {{"compliant", counts.compliant},
                        {"failing", counts.failing},
                        {"notChecked", counts.passed_over},
                        {"otherObjects", outcome.others},
                        {"findings", counts.findings},
                        {"unreadable", outcome.unreadable}}}};
  out << document.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
}

}  // namespace

int check(const CheckOptions& options, std::istream& in, std::ostream& out, std::ostream& err) {
  const auto settings = read_settings(options.settings_file, in);
  if (!settings) {
    err << settings.error() << '\n';
    return kUnreadable;
  }
  Outcome outcome;
  for (const std::string& file : options.files) {
    const auto text = read_file(file, in);
    const auto done = text ? check_file(file, *text, *settings, options, outcome)
                           : std::unexpected(shown(file) + ": " + text.error());
    if (done) continue;
    err << printable(done.error()) << '\n';
    outcome.unreadable = true;
  }
  if (options.as_json) {
    print_json(outcome, out);
  } else if (!outcome.pods.empty() || !outcome.unreadable) {
    print_text(outcome, out);
  }
  if (outcome.unreadable) return kUnreadable;
  return count(outcome).failing > 0 ? kFindings : kCompliant;
}

}  // namespace palisade::cli
