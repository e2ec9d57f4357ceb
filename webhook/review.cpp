#include <algorithm>
#include <array>

#include <policy/templates.h>
#include <webhook/review.h>

namespace palisade::webhook {

namespace {

using simdjson::dom::element;

constexpr std::size_t kMaxUid = 128;
constexpr std::size_t kMaxDepth = 128;
constexpr std::size_t kUsualBody = 64 * 1024;
constexpr std::size_t kMaxKeptBody = 1024 * 1024;

// A parser grows to about sixteen times the largest body that it has read. One that a single huge
// review has blown up is given back, or a few of them would hold the pod's memory for good.
class KeptParser {
 public:
  explicit KeptParser(simdjson::dom::parser& parser) : parser_(parser) {}
  ~KeptParser() {
    if (parser_.capacity() > kMaxKeptBody) parser_ = simdjson::dom::parser();
  }
  KeptParser(const KeptParser&) = delete;
  KeptParser& operator=(const KeptParser&) = delete;

 private:
  simdjson::dom::parser& parser_;
};

// Appends `text` (UTF-8) as a JSON string.
void append_json(std::string& out, std::string_view text) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    } else {
      out += c;
    }
  }
  out += '"';
}

std::string_view text_at(const element& object, std::string_view key) {
  std::string_view out;
  simdjson::dom::object members;
  if (object.get(members) == simdjson::SUCCESS && members.at_key(key).get(out) == simdjson::SUCCESS)
    return out;
  return {};
}

// Present and not null.
bool object_at(const element& object, std::string_view key, element& out) {
  simdjson::dom::object members;
  return object.get(members) == simdjson::SUCCESS &&
         members.at_key(key).get(out) == simdjson::SUCCESS && !out.is_null();
}

// What a message may repeat of a review; never half a code point, as the answer must be UTF-8.
std::string clipped(std::string_view text) {
  constexpr std::size_t kMaxRepeated = 64;
  if (text.size() <= kMaxRepeated) return std::string(text);
  std::size_t end = kMaxRepeated;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U)
    --end;
  return std::string(text.substr(0, end)) + "...";
}

Outcome bad_request(std::string_view why) {
  Outcome outcome;
  outcome.status = 400;
  outcome.body = "not an AdmissionReview: ";
  outcome.body += why;
  outcome.body += '\n';
  return outcome;
}

class Response {
 public:
  Response(Outcome& outcome, std::string_view uid) : outcome_(outcome), out_(outcome.body) {
    out_ = R"({"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":)";
    append_json(out_, uid);
  }

  void allow(std::string_view why, std::string_view warning = {}) {
    outcome_.allowed = true;
    out_ += R"(,"allowed":true,"auditAnnotations":{"verdict":"allowed","reason":)";
    append_json(out_, why);
    out_ += '}';
    if (!warning.empty()) {
      out_ += R"(,"warnings":[)";
      append_json(out_, warning);
      out_ += ']';
    }
    out_ += "}}";
  }

  void deny(std::string_view reason, std::string_view message,
            std::span<const policy::Finding> findings) {
    out_ += R"(,"allowed":false,"auditAnnotations":{"verdict":"denied","reason":)";
    append_json(out_, reason);
    out_ += R"(},"status":{"status":"Failure","code":403,"reason":"Forbidden","message":)";
    append_json(out_, message);
    if (!findings.empty()) {
      out_ += R"(,"details":{"causes":[)";
      bool first = true;
      for (const policy::Finding& finding : findings) {
        out_ += first ? R"({"reason":"FieldValueForbidden","field":)"
                      : R"(,{"reason":"FieldValueForbidden","field":)";
        first = false;
        append_json(out_, finding.field);
        out_ += R"(,"message":)";
        append_json(out_, "[" + std::string(finding.control) + "] is " + finding.found + ": " +
                              finding.message);
        out_ += '}';
        if (std::ranges::find(outcome_.denied_controls, finding.control) ==
            outcome_.denied_controls.end()) {
          outcome_.denied_controls.push_back(finding.control);
        }
      }
      out_ += "]}";
    }
    out_ += "}}}";
  }

 private:
  Outcome& outcome_;
  std::string& out_;
};

bool same(const policy::Finding& a, const policy::Finding& b) {
  return a.control == b.control && a.field == b.field && a.found == b.found;
}

// What an update adds to what was wrong before: a pod from before the guard can still be finished
// and deleted, but not weakened further.
std::vector<policy::Finding> added(std::vector<policy::Finding> now,
                                   const std::vector<policy::Finding>& before) {
  std::erase_if(now, [&](const policy::Finding& finding) {
    return std::ranges::any_of(before,
                               [&](const policy::Finding& old) { return same(finding, old); });
  });
  return now;
}

std::string_view known_operation(std::string_view operation) {
  for (const std::string_view known : {std::string_view("CREATE"), std::string_view("UPDATE"),
                                       std::string_view("DELETE"), std::string_view("CONNECT")}) {
    if (operation == known) return known;
  }
  return {};
}

// Who wanted what, for the log.
std::string subject_of(const element& request) {
  element object;
  element metadata;
  element user;
  std::string name(text_at(request, "name"));
  if (name.empty() && object_at(request, "object", object) &&
      object_at(object, "metadata", metadata)) {
    name = clipped(text_at(metadata, "generateName")) + "*";
  }
  element resource;
  std::string out = clipped(text_at(request, "operation"));
  if (object_at(request, "resource", resource)) out += " " + clipped(text_at(resource, "resource"));
  out += " " + clipped(text_at(request, "namespace")) + "/" + name.substr(0, 253);
  if (object_at(request, "userInfo", user)) out += " by " + clipped(text_at(user, "username"));
  return out;
}

void judge(const element& request, const policy::Settings& settings, const ModeLookup& mode_of,
           Outcome& outcome, Response& response) {
  const auto refuse = [&](const std::string& why) {
    response.deny("not understood", "Palisade denies what it does not understand: " + why, {});
  };
  element resource;
  if (!object_at(request, "resource", resource)) return refuse("the review names no resource");
  const policy::PodTemplate* const kind =
      policy::template_of_resource(text_at(resource, "group"), text_at(resource, "resource"));
  if (kind == nullptr) {
    return refuse("only pods and what makes them are judged here, not " +
                  clipped(text_at(resource, "resource")) + "; check the webhook's rules");
  }
  const bool is_pod = kind->resource == "pods";
  const std::string_view subresource = text_at(request, "subResource");
  if (!subresource.empty() &&
      !(is_pod && (subresource == "ephemeralcontainers" || subresource == "resize"))) {
    return refuse(std::string(kind->resource) + "/" + clipped(subresource) +
                  " is not judged here; check the webhook's rules");
  }
  if (outcome.operation != "CREATE" && outcome.operation != "UPDATE") {
    return refuse("the operation \"" + clipped(text_at(request, "operation")) +
                  "\"; check the webhook's rules");
  }
  element object;
  if (!object_at(request, "object", object) || !object.is_object())
    return refuse("the review holds no object");
  const auto pod_or = policy::pod_in(object, *kind);
  if (!pod_or) return refuse("the " + std::string(kind->kind) + " has no " + pod_or.error());
  const element pod = *pod_or;
  element before;
  const bool update = outcome.operation == "UPDATE";
  if (update) {
    element old;
    if (!object_at(request, "oldObject", old) || !old.is_object())
      return refuse("an update without the old object");
    const auto before_or = policy::pod_in(old, *kind);
    if (!before_or)
      return refuse("the old " + std::string(kind->kind) + " has no " + before_or.error());
    before = *before_or;
  }

  const auto mode = mode_of(text_at(request, "namespace"));
  if (!mode)
    return response.deny(
        "namespace unknown",
        "Palisade cannot tell how this namespace is guarded, so it denies: " + mode.error(), {});
  if (*mode == Mode::kOff)
    return response.allow("the namespace is labelled palisade.dev/enforce=off");
  const std::string now = policy::agent_reason(pod);
  const std::string then = update ? policy::agent_reason(before) : std::string();
  if (now.empty() && then.empty() && *mode != Mode::kAll) return response.allow("not an Aider pod");
  outcome.is_agent = true;
  const std::string why = !now.empty()    ? now
                          : !then.empty() ? then
                                          : "the namespace enforces all pods";

  const std::string prefix = kind->prefix();
  auto findings = policy::evaluate(pod, settings, prefix);
  // A full list may hide what is new in it: then nothing counts as standing from before.
  if (update && (!then.empty() || *mode == Mode::kAll) && !findings.empty() &&
      findings.size() < policy::kMaxFindings) {
    const std::size_t all = findings.size();
    findings = added(std::move(findings), policy::evaluate(before, settings, prefix));
    if (findings.empty()) {
      const std::string warning = std::to_string(all) + " hardening problem(s) stand in this " +
                                  (is_pod ? "pod" : std::string(kind->kind)) +
                                  " from before; recreate it";
      return response.allow("nothing is weakened further", warning);
    }
  }
  if (findings.empty()) return response.allow("compliant: " + why);
  const std::string what = is_pod ? "Aider pod" : std::string(kind->kind) + " of Aider pods";
  response.deny(why,
                "Palisade refuses this " + what + " (" + why + "): " + policy::explain(findings),
                findings);
}

}  // namespace

std::optional<Mode> parse_mode(std::string_view label) {
  if (label == "agents") return Mode::kAgents;
  if (label == "all") return Mode::kAll;
  if (label == "off") return Mode::kOff;
  return std::nullopt;
}

Outcome review(std::string_view body, const policy::Settings& settings, const ModeLookup& mode_of) {
  if (body.empty()) return bad_request("the body is empty");
  thread_local simdjson::dom::parser parser;
  if (parser.max_depth() != kMaxDepth) {
    if (parser.allocate(kUsualBody, kMaxDepth) != simdjson::SUCCESS)
      return bad_request("out of memory");
  }
  const KeptParser kept(parser);
  element document;
  if (const auto error = parser.parse(body.data(), body.size()).get(document);
      error != simdjson::SUCCESS) {
    return bad_request(simdjson::error_message(error));
  }
  simdjson::dom::object members;
  if (document.get(members) != simdjson::SUCCESS) return bad_request("the body is no JSON object");
  std::array<int, 3> seen{};
  for (const auto [key, value] : members) {
    seen[0] += key == "apiVersion" ? 1 : 0;
    seen[1] += key == "kind" ? 1 : 0;
    seen[2] += key == "request" ? 1 : 0;
  }
  if (std::ranges::any_of(seen, [](int count) { return count != 1; }))
    return bad_request("apiVersion, kind and request must each be there once");
  if (text_at(document, "kind") != "AdmissionReview" ||
      text_at(document, "apiVersion") != "admission.k8s.io/v1") {
    return bad_request("kind must be AdmissionReview and apiVersion admission.k8s.io/v1");
  }
  element request;
  if (!object_at(document, "request", request) || !request.is_object())
    return bad_request("request is no object");
  const std::string_view uid = text_at(request, "uid");
  if (uid.empty() || uid.size() > kMaxUid) return bad_request("request.uid is missing or too long");

  Outcome outcome;
  outcome.operation = known_operation(text_at(request, "operation"));
  Response response(outcome, uid);
  judge(request, settings, mode_of, outcome, response);
  if (!outcome.allowed) outcome.subject = subject_of(request);
  return outcome;
}

}  // namespace palisade::webhook
