#include "request.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <policy/json_text.h>

namespace palisade::gateway::llm {
namespace {

constexpr std::size_t kMostModelName = 256;
constexpr std::int64_t kMostAsked = 100'000'000;
constexpr std::int64_t kMostChoices = 128;
constexpr std::int64_t kUnsaidCompletion = 4096;  // set aside where no maximum is asked for
constexpr std::size_t kListed = 50;               // models in a message

struct Known {
  Endpoint endpoint;
  std::string_view path;
};
constexpr std::array<Known, 5> kEndpoints{{{Endpoint::kChat, "/chat/completions"},
                                           {Endpoint::kCompletions, "/completions"},
                                           {Endpoint::kEmbeddings, "/embeddings"},
                                           {Endpoint::kMessages, "/messages"},
                                           {Endpoint::kModels, "/models"}}};

std::unexpected<Refusal> bad(std::string message) {
  return std::unexpected(Refusal{400, "invalid_request", std::move(message)});
}

std::string as_json(std::string_view text) {
  std::string out;
  policy::append_json(out, text);
  return out;
}

// The members that the gateway reads, by name. What is wrong with one is its message, or "".
class Reader {
 public:
  Reader(std::string_view body, const std::vector<Member>& members)
      : body_(body), members_(members) {}

  [[nodiscard]] std::string flag(std::string_view name, bool& into) const {
    const Member* member = find_member(members_, name);
    if (member == nullptr || member->type == JsonType::kNull) return {};
    if (member->type != JsonType::kBool) return std::string(name) + " must be true or false";
    into = member->value.of(body_) == "true";
    return {};
  }

  [[nodiscard]] std::string number(std::string_view name, std::int64_t least, std::int64_t most,
                                   std::int64_t& into) const {
    const Member* member = find_member(members_, name);
    if (member == nullptr || member->type == JsonType::kNull) return {};
    const std::string_view text = member->value.of(body_);
    std::int64_t read = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), read);
    if (member->type != JsonType::kNumber || error != std::errc{} ||
        stop != text.data() + text.size() || read < least || read > most)
      return std::string(name) + " must be a whole number from " + std::to_string(least) + " to " +
             std::to_string(most);
    into = std::max(into, read);
    return {};
  }

 private:
  std::string_view body_;
  const std::vector<Member>& members_;
};

std::string read_stream_options(std::string_view body, const Member& member, LlmRequest& request) {
  if (member.type == JsonType::kNull) return {};
  if (member.type != JsonType::kObject) return "stream_options must be an object";
  const auto members = read_object(member.value.of(body));
  if (!members) return "stream_options: " + members.error().what;
  const Member* usage = find_member(*members, "include_usage");
  if (usage == nullptr || usage->type == JsonType::kNull) return {};
  if (usage->type != JsonType::kBool) return "stream_options.include_usage must be true or false";
  request.wants_usage = usage->value.of(member.value.of(body)) == "true";
  return {};
}

// Models that exist and are the caller's, each once.
std::vector<const Model*> models_of(const LlmConfig& config, const Grant& grant) {
  std::vector<const Model*> out;
  for (const std::string& name : grant.models) {
    const Model* model = config.find(name);
    if (model != nullptr && std::ranges::find(out, model) == out.end()) out.push_back(model);
  }
  return out;
}

std::string listed(const std::vector<const Model*>& models) {
  if (models.empty()) return "this workspace may use none: spec.agent.model and spec.llm.models";
  std::string out = "this workspace may use ";
  for (std::size_t i = 0; i < models.size() && i < kListed; ++i)
    out += (i == 0 ? "" : ", ") + models[i]->name;
  if (models.size() > kListed) out += ", ...";
  return out;
}

// Exact for up to 10^12 tokens at up to a million dollars for a million.
MicroDollars part(std::int64_t tokens, MicroDollars price, std::int64_t& rest) {
  constexpr std::int64_t kMillion = 1'000'000;
  tokens = std::clamp<std::int64_t>(tokens, 0, kMillion * kMillion);
  rest += tokens % kMillion * price;
  return tokens / kMillion * price;
}

}  // namespace

std::expected<Endpoint, Refusal> endpoint_of(std::string_view method, std::string_view path) {
  for (const Known& known : kEndpoints) {
    if (!path.starts_with("/v1") || path.substr(3) != known.path) continue;
    const std::string_view wanted = known.endpoint == Endpoint::kModels ? "GET" : "POST";
    if (method != wanted)
      return std::unexpected(
          Refusal{405, "method_not_allowed",
                  "/v1" + std::string(known.path) + " is asked with " + std::string(wanted)});
    return known.endpoint;
  }
  return std::unexpected(
      Refusal{404, "not_found",
              "the gateway serves /v1/chat/completions, /v1/completions, /v1/embeddings, "
              "/v1/messages and /v1/models"});
}

std::string_view path_of(Endpoint endpoint) {
  return std::ranges::find(kEndpoints, endpoint, &Known::endpoint)->path;
}

Kind kind_of(Endpoint endpoint) {
  return endpoint == Endpoint::kMessages ? Kind::kAnthropic : Kind::kOpenAi;
}

std::expected<LlmRequest, Refusal> read_request(Endpoint endpoint, std::string_view body) {
  const auto members = read_object(body);
  if (!members)
    return bad("the body is no JSON that can be served: " + members.error().what + " (byte " +
               std::to_string(members.error().at) + ")");
  LlmRequest out;
  out.endpoint = endpoint;
  const Member* model = find_member(*members, "model");
  if (model == nullptr) return bad("model is missing");
  if (model->type != JsonType::kString) return bad("model must be a string");
  out.model = decoded(model->value.of(body));
  if (out.model.empty() || out.model.size() > kMostModelName)
    return bad("model must be a name of at most 256 characters");
  out.model_at = model->value;
  const Reader reader(body, *members);
  std::string fault;
  const auto also = [&](std::string found) {
    if (fault.empty()) fault = std::move(found);
  };
  also(reader.flag("stream", out.stream));
  also(reader.number("max_tokens", 0, kMostAsked, out.max_tokens));
  if (endpoint == Endpoint::kChat)
    also(reader.number("max_completion_tokens", 0, kMostAsked, out.max_tokens));
  if (endpoint == Endpoint::kChat || endpoint == Endpoint::kCompletions)
    also(reader.number("n", 1, kMostChoices, out.choices));
  if (endpoint == Endpoint::kCompletions)
    also(reader.number("best_of", 1, kMostChoices, out.choices));
  if (endpoint == Endpoint::kEmbeddings && out.stream) also("stream: embeddings are not streamed");
  if (const Member* options = find_member(*members, "stream_options");
      options != nullptr && kind_of(endpoint) == Kind::kOpenAi) {
    also(read_stream_options(body, *options, out));
    out.stream_options_at = options->value;
    out.stream_options_type = options->type;
  }
  if (!fault.empty()) return bad(fault);
  return out;
}

std::vector<Edit> edits_for(const LlmRequest& request, std::string_view body,
                            std::string_view model) {
  std::vector<Edit> edits;
  if (request.model != model) edits.push_back({request.model_at, as_json(model)});
  const bool streamed = request.stream && (request.endpoint == Endpoint::kChat ||
                                           request.endpoint == Endpoint::kCompletions);
  if (streamed && !request.wants_usage) {
    constexpr std::string_view kAsk = "\"include_usage\":true";
    if (!request.stream_options_at) {
      const std::size_t brace = body.find('{') + 1;
      edits.push_back({{brace, brace}, "\"stream_options\":{" + std::string(kAsk) + "},"});
    } else if (request.stream_options_type == JsonType::kNull) {
      edits.push_back({*request.stream_options_at, "{" + std::string(kAsk) + "}"});
    } else {
      const Span at = *request.stream_options_at;
      const auto members = read_object(at.of(body));
      const Member* usage = members ? find_member(*members, "include_usage") : nullptr;
      if (usage != nullptr) {
        edits.push_back({{at.begin + usage->value.begin, at.begin + usage->value.end}, "true"});
      } else {
        const bool more = members && !members->empty();
        edits.push_back({{at.begin + 1, at.begin + 1}, std::string(kAsk) + (more ? "," : "")});
      }
    }
  }
  std::ranges::sort(edits, {}, [](const Edit& edit) { return edit.span.begin; });
  return edits;
}

std::expected<const Model*, Refusal> allowed_model(const LlmConfig& config, const Grant& grant,
                                                   std::string_view name) {
  const auto models = models_of(config, grant);
  const Model* model = config.find(name);
  if (model == nullptr)
    return std::unexpected(Refusal{404, "model_not_found",
                                   "the gateway has no model of that name; " + listed(models)});
  if (std::ranges::find(models, model) == models.end())
    return std::unexpected(
        Refusal{403, "model_not_allowed",
                "the model " + model->name + " is not this workspace's; " + listed(models)});
  return model;
}

std::string models_list(const LlmConfig& config, const Grant& grant, Kind kind) {
  const auto models = models_of(config, grant);
  std::string first;
  std::string last;
  std::string data;
  const auto add = [&](const std::string& name) {
    last = as_json(name);
    if (first.empty()) first = last;
    data += data.empty() ? "" : ",";
    data += kind == Kind::kOpenAi
                ? R"({"id":)" + last + R"(,"object":"model","created":0,"owned_by":"palisade"})"
                : R"({"type":"model","id":)" + last + R"(,"display_name":)" + last +
                      R"(,"created_at":"1970-01-01T00:00:00Z"})";
  };
  for (const Model* model : models) {
    add(model->name);
    for (const std::string& alias : model->aliases)
      add(alias);
  }
  if (kind == Kind::kOpenAi) return R"({"object":"list","data":[)" + data + "]}";
  const std::string none = "null";
  return R"({"data":[)" + data + R"(],"has_more":false,"first_id":)" +
         (first.empty() ? none : first) + R"(,"last_id":)" + (last.empty() ? none : last) + "}";
}

std::int64_t estimated_prompt(std::size_t bytes) {
  return static_cast<std::int64_t>(bytes / 4 + 1);
}

std::int64_t estimated_completion(const LlmRequest& request) {
  if (request.endpoint == Endpoint::kEmbeddings) return 0;
  return (request.max_tokens > 0 ? request.max_tokens : kUnsaidCompletion) * request.choices;
}

MicroDollars cost_of(const std::optional<Price>& price, std::int64_t input, std::int64_t output) {
  if (!price) return 0;
  constexpr std::int64_t kMillion = 1'000'000;
  std::int64_t rest = 0;
  const MicroDollars whole = part(input, price->input, rest) + part(output, price->output, rest);
  return whole + rest / kMillion + (rest % kMillion != 0 ? 1 : 0);
}

}  // namespace palisade::gateway::llm
