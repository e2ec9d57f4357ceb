// An agent's request body: read as another reader reads it, changed where it must be and nowhere
// else, and without the credentials that were in it.
#include <nlohmann/json.hpp>

#include "credentials.h"
#include "errors.h"
#include "fuzz/json_mutator.h"
#include "json_scan.h"
#include "record.h"
#include "request.h"

namespace {

using namespace palisade;
using namespace palisade::gateway;
using namespace palisade::gateway::llm;

void check_request(std::string_view body, Endpoint endpoint) {
  const auto request = read_request(endpoint, body);
  if (!request) {
    fuzz::check(request.error().status == 400, "what is wrong with it is the client's");
    fuzz::check_shown(request.error().message, 300);
    return;
  }
  const auto before = nlohmann::json::parse(body, nullptr, false);
  fuzz::check(before.is_object() && before["model"] == request->model,
              "the model is the one asked");
  fuzz::check(estimated_completion(*request) >= 0, "an estimate is no debt");
  const std::string out = edited(body, edits_for(*request, body, "other\"name"));
  const auto after = nlohmann::json::parse(out, nullptr, false);
  fuzz::check(after.is_object() && after["model"] == "other\"name", "the new name is there", out);
  for (const auto& [name, value] : before.items()) {
    fuzz::check(name == "model" || name == "stream_options" || after.at(name) == value,
                "the rest is as it was", name);
  }
  const bool streamed =
      request->stream && (endpoint == Endpoint::kChat || endpoint == Endpoint::kCompletions);
  fuzz::check(!streamed || after["stream_options"]["include_usage"] == true, "usage is asked for",
              out);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::view(data, size);
  Secrets secrets;
  secrets.add("the own token", "user", "a token");

  const std::string hidden = masked(text, secrets);
  fuzz::check(hidden.find("the own token") == std::string::npos, "the own token is gone", hidden);
  fuzz::check(find_credentials(hidden, secrets).empty(), "what was masked has nothing left",
              hidden);
  fuzz::check(simdjson::validate_utf8(body_excerpt(text, secrets)), "an excerpt is UTF-8");
  fuzz::check_shown(upstream_message(text, "sk-something-secret"), 600);

  const auto read = check_json(text);
  const bool accepted = nlohmann::json::accept(text);
  if (!read) {
    const std::string& why = read.error().what;
    fuzz::check(!accepted || why.find("twice") != std::string::npos ||
                    why.find("nested deeper") != std::string::npos ||
                    why.find("UTF-8") != std::string::npos || text.starts_with("\xEF\xBB\xBF") ||
                    text.find('\0') != std::string_view::npos,
                "what another reader takes is taken, or refused for a reason", why);
    fuzz::check(read.error().at <= text.size(), "a fault lies inside");
    return 0;
  }
  // Numbers out of a double's range are the upstream's to judge; escapes of half a pair too.
  if (!accepted) return 0;
  const Outgoing out = check_outgoing(text, secrets);
  const std::string changed = edited(text, out.edits);
  fuzz::check(check_json(changed).has_value(), "masked JSON is JSON", changed);
  fuzz::check(out.in_name || check_outgoing(changed, secrets).leak.count == 0,
              "and has nothing left", changed);
  for (const Endpoint endpoint : {Endpoint::kChat, Endpoint::kEmbeddings, Endpoint::kMessages})
    check_request(text, endpoint);
  return 0;
}
