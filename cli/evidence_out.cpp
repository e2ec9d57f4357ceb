#include <algorithm>
#include <functional>

#include "evidence.h"
#include "json_at.h"
#include "text.h"

namespace palisade::cli {
namespace {

using nlohmann::json;

// What both forms show, as texts that are not yet escaped.
struct Table {
  std::string title;
  std::string none;  // where there are no rows
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

std::string listed_values(const json& values) {
  std::string out;
  if (!values.is_array()) return out;
  for (const json& one : values) {
    if (one.is_string()) out += (out.empty() ? "" : ", ") + one.get<std::string>();
  }
  return out;
}

std::string counted_or_unknown(const json& value) {
  return value.is_number_integer() ? value.dump() : "not known";
}

std::string hardening_text(const json& h) {
  std::string out =
      h["userNamespace"] == json(true) ? "own user namespace" : "NO user namespace of its own";
  out += "; guard " + raw_text_at(h, {"guardMode"});
  if (const std::string runtime = raw_text_at(h, {"runtimeClass"}); !runtime.empty())
    out += "; runtime " + runtime;
  if (h["egressRules"] != json(0)) out += "; " + h["egressRules"].dump() + " egress rule(s) more";
  if (!h["morePrograms"].empty()) out += "; programs more: " + listed_values(h["morePrograms"]);
  if (const std::string isolated = raw_text_at(h, {"isolated"}); !isolated.empty())
    out += "; isolated: " + isolated + " (" + raw_text_at(h, {"isolatedReason"}) + ")";
  if (!h["degraded"].empty()) out += "; the node lacks: " + listed_values(h["degraded"]);
  out += "; " + raw_text_at(h, {"access"});
  if (const std::string deadline = raw_text_at(h, {"deadline"}); !deadline.empty())
    out += "; deadline " + deadline;
  if (!h["budget"].empty()) out += "; budget " + h["budget"].dump();
  return out;
}

std::vector<Table> tables_of(const json& e) {
  std::vector<Table> out;
  Table sessions{"Sessions",
                 "No session is known for this period.",
                 {"Session", "Created by", "From", "To", "Phase", "Repository and branch",
                  "Commits", "Hardening", "Programs", "Refused", "Findings"},
                 {}};
  for (const json& s : e["sessions"]) {
    const std::string request = raw_text_at(s, {"mergeRequest"});
    sessions.rows.push_back(
        {raw_text_at(s, {"namespace"}) + "/" + raw_text_at(s, {"name"}),
         raw_text_at(s, {"createdBy"}).empty() ? "not recorded" : raw_text_at(s, {"createdBy"}),
         raw_text_at(s, {"created"}), raw_text_at(s, {"finished"}), raw_text_at(s, {"phase"}),
         raw_text_at(s, {"repository"}) + " " + raw_text_at(s, {"branch"}) +
             (request.empty() ? "" : " " + request),
         s["commits"].dump(), hardening_text(s["hardening"]),
         counted_or_unknown(s["audit"]["execs"]), counted_or_unknown(s["audit"]["refusals"]),
         counted_or_unknown(s["audit"]["findings"])});
  }
  out.push_back(std::move(sessions));
  Table exceptions{"Exceptions",
                   "No HardeningException held in this period.",
                   {"Exception", "Namespaces", "Controls", "Reason", "Ticket", "Approved by",
                    "Since", "Until", "At the end"},
                   {}};
  for (const json& x : e["exceptions"]) {
    exceptions.rows.push_back({raw_text_at(x, {"name"}), listed_values(x["namespaces"]),
                               listed_values(x["controls"]), raw_text_at(x, {"reason"}),
                               raw_text_at(x, {"ticket"}), raw_text_at(x, {"approver"}),
                               raw_text_at(x, {"created"}), raw_text_at(x, {"expires"}),
                               x["active"] == json(true) ? "active" : "ended"});
  }
  out.push_back(std::move(exceptions));
  Table findings{"Findings about what runs now",
                 "No finding in the PolicyReports.",
                 {"Pod", "Control", "Result", "Exception", "What"},
                 {}};
  for (const json& f : e["findings"]) {
    findings.rows.push_back({raw_text_at(f, {"namespace"}) + "/" + raw_text_at(f, {"pod"}),
                             raw_text_at(f, {"control"}), raw_text_at(f, {"result"}),
                             raw_text_at(f, {"exception"}), raw_text_at(f, {"message"})});
  }
  out.push_back(std::move(findings));
  Table events{"Warnings",
               "No warning of Palisade's is kept for this period.",
               {"Time", "About", "Reason", "What"},
               {}};
  for (const json& one : e["events"]) {
    events.rows.push_back({raw_text_at(one, {"time"}),
                           raw_text_at(one, {"namespace"}) + " " + raw_text_at(one, {"about"}),
                           raw_text_at(one, {"reason"}), raw_text_at(one, {"note"})});
  }
  out.push_back(std::move(events));
  Table tokens{"Tokens",
               "No session had a token.",
               {"Session", "Credentials", "Minted", "State", "Held", "Not revoked"},
               {}};
  for (const json& t : e["tokens"]) {
    tokens.rows.push_back({raw_text_at(t, {"namespace"}) + "/" + raw_text_at(t, {"workspace"}),
                           raw_text_at(t, {"kind"}), t["minted"] == json(true) ? "yes" : "no",
                           raw_text_at(t, {"state"}), raw_text_at(t, {"held"}),
                           listed_values(t["notRevoked"])});
  }
  out.push_back(std::move(tokens));
  Table frameworks{"Frameworks", "", {"Framework", "Clause", "Controls", "Evidence here"}, {}};
  for (const json& f : e["frameworks"]) {
    frameworks.rows.push_back({raw_text_at(f, {"framework"}),
                               raw_text_at(f, {"clause"}) + " " + raw_text_at(f, {"title"}),
                               listed_values(f["controls"]), raw_text_at(f, {"evidence"})});
  }
  out.push_back(std::move(frameworks));
  return out;
}

std::string heading(const json& e) {
  const std::string ns = raw_text_at(e, {"namespace"});
  return "What Palisade's agents did" + (ns.empty() ? "" : " in namespace " + ns);
}

std::string summary_text(const json& e) {
  const json& s = e["summary"];
  return "From " + raw_text_at(e, {"period", "since"}) + " to " +
         raw_text_at(e, {"period", "until"}) + ": " + s["sessions"].dump() + " session(s), " +
         s["refusals"].dump() + " refusal(s) within them, " + s["exceptions"].dump() +
         " exception(s) of which " + s["activeExceptions"].dump() + " active at the end, " +
         s["findings"].dump() + " finding(s), " + s["events"].dump() + " warning(s), " +
         s["tokensNotRevoked"].dump() + " token(s) not revoked.";
}

// Text in a cell of Markdown: no markup, no HTML, no link, no cell's end.
std::string markdown(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      if (std::string_view("\\`*_[]()#|!~").contains(c)) out += '\\';
      out += c;
    }
  }
  // An address would become a link by itself.
  for (std::size_t at = 0; (at = out.find("://", at)) != std::string::npos; at += 6)
    out.replace(at, 1, "&#58;");
  return out;
}

std::string html(std::string_view text) {
  return xml(printable(text));
}

constexpr const char* kStyle =
    "body{font:14px/1.45 sans-serif;margin:2em;color:#222}table{border-collapse:collapse;"
    "margin:0 0 1.5em}th,td{border:1px solid #bbb;padding:.3em .6em;text-align:left;"
    "vertical-align:top;overflow-wrap:anywhere}th{background:#eee}";

}  // namespace

std::string evidence_markdown(const json& e) {
  std::string out = "# " + markdown(heading(e)) + "\n\n" + markdown(summary_text(e)) + "\n";
  for (const Table& table : tables_of(e)) {
    out += "\n## " + table.title + "\n\n";
    if (table.rows.empty()) {
      out += table.none + "\n";
      continue;
    }
    std::string line = "|";
    for (const std::string& name : table.header) {
      out += "| " + name + " ";
      line += " --- |";
    }
    out += "|\n" + line + "\n";
    for (const auto& row : table.rows) {
      for (const std::string& cell : row)
        out += "| " + markdown(cell) + " ";
      out += "|\n";
    }
  }
  out += "\n## What is not in here\n\n";
  for (const char* list : {"unread", "limits"}) {
    for (const json& one : e[list])
      out += "- " + markdown(one.get<std::string>()) + "\n";
  }
  return out;
}

std::string evidence_html(const json& e) {
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'\">\n<title>" +
      html(heading(e)) + "</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<h1>" +
      html(heading(e)) + "</h1>\n<p>" + html(summary_text(e)) + "</p>\n";
  for (const Table& table : tables_of(e)) {
    out += "<h2>" + html(table.title) + "</h2>\n";
    if (table.rows.empty()) {
      out += "<p>" + html(table.none) + "</p>\n";
      continue;
    }
    out += "<table>\n<tr>";
    for (const std::string& name : table.header)
      out += "<th>" + html(name) + "</th>";
    out += "</tr>\n";
    for (const auto& row : table.rows) {
      out += "<tr>";
      for (const std::string& cell : row)
        out += "<td>" + html(cell) + "</td>";
      out += "</tr>\n";
    }
    out += "</table>\n";
  }
  out += "<h2>What is not in here</h2>\n<ul>\n";
  for (const char* list : {"unread", "limits"}) {
    for (const json& one : e[list])
      out += "<li>" + html(one.get<std::string>()) + "</li>\n";
  }
  return out + "</ul>\n</body>\n</html>\n";
}

}  // namespace palisade::cli
