#include "provider_side.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "ascii.h"

namespace palisade::gateway::llm {
namespace {

constexpr const char* kUrl =
    "a URL that the provider would fetch; send what is there itself (data:)";
constexpr const char* kFile = "a file that is kept by the provider; send it itself";
constexpr const char* kHosted = "something that the provider would run, search or connect to";
constexpr const char* kTool =
    "a tool that the provider would run; only those that the client runs are passed on";

// Members of a request that are nothing else, whatever they hold.
constexpr std::array<std::string_view, 9> kHostedMembers{
    "mcp_servers",    "container",    "plugins",     "search_parameters", "web_search_options",
    "tool_resources", "data_sources", "attachments", "connectors"};
// Within messages: what the model or a tool has said, in whatever shape.
constexpr std::array<std::string_view, 8> kFreeParts{"input",         "arguments",    "tool_calls",
                                                     "function_call", "annotations",  "citations",
                                                     "metadata",      "cache_control"};
constexpr std::array<std::string_view, 3> kMedia{"image", "video", "audio"};
// Tools that the client runs: OpenAI's two, Anthropic's own beside them.
constexpr std::array<std::string_view, 3> kClientTools{"function", "custom", ""};
constexpr std::array<std::string_view, 4> kClientToolFamilies{"bash_", "text_editor_", "computer_",
                                                              "memory_"};

template <std::size_t N>
bool among(std::string_view text, const std::array<std::string_view, N>& all) {
  return std::ranges::find(all, text) != all.end();
}

std::string lowered(std::string text) {
  std::ranges::transform(text, text.begin(), lower);
  return text;
}

bool client_tool(const std::string& type) {
  return among(type, kClientTools) ||
         std::ranges::any_of(kClientToolFamilies,
                             [&](std::string_view family) { return type.starts_with(family); });
}

// As written, with its quotes. What is escaped is taken for no data: URL.
bool is_data(std::string_view string) {
  constexpr std::string_view kData = "\"data:";
  return string.size() >= kData.size() &&
         std::ranges::equal(string.substr(0, kData.size()), kData,
                            [](char a, char b) { return lower(a) == b; });
}

class Walk {
 public:
  Walk(Endpoint endpoint, std::string_view body) : endpoint_(endpoint), body_(body) {}

  std::optional<ProviderSide> run() {
    std::size_t at = 0;
    while (at < body_.size() && !found_) {
      switch (body_[at]) {
        case '{':
        case '[':
          open(at++);
          break;
        case '}':
        case ']':
          if (!stack_.empty()) stack_.pop_back();
          ++at;
          break;
        case ',':
          if (!stack_.empty() && stack_.back().object) named_ = false;
          ++at;
          break;
        case '"': {
          const Span string = *next_string(body_, at);
          take(string);
          at = string.end;
          break;
        }
        case ' ':
        case '\t':
        case '\r':
        case '\n':
        case ':':
          ++at;
          break;
        default:  // a number, true, false, null
          word(at);
          at = std::min(body_.find_first_of(",]} \t\r\n", at), body_.size());
      }
    }
    return std::move(found_);
  }

 private:
  // What a container is, and with it what its members mean.
  enum class Is : std::uint8_t { kRoot, kPart, kTools, kFree };
  struct Frame {
    bool object = false;
    Is is = Is::kFree;
    std::string name;  // of the member that holds it
  };

  void tell(std::size_t at, const char* what) {
    // Of a list or an object itself, not of what is in it.
    const bool opens = body_[at] == '{' || body_[at] == '[';
    found_ = ProviderSide{path_at(body_, opens ? at - 1 : at), what};
  }

  [[nodiscard]] Is inside(std::size_t at) {
    if (stack_.empty()) return Is::kRoot;
    const Frame& parent = stack_.back();
    if (!parent.object) return parent.is;
    if (parent.is == Is::kPart) return among(name_, kFreeParts) ? Is::kFree : Is::kPart;
    if (parent.is != Is::kRoot) return Is::kFree;
    if (among(name_, kHostedMembers)) tell(at, kHosted);
    if (name_ == "tools") return Is::kTools;
    const bool holds = name_ == "messages" || name_ == "system" || name_ == "prompt" ||
                       (name_ == "input" && endpoint_ == Endpoint::kEmbeddings);
    return holds ? Is::kPart : Is::kFree;
  }

  void open(std::size_t at) {
    const Is is = inside(at);
    if (is == Is::kPart && !stack_.empty() && stack_.back().object && name_ == "file_ids")
      tell(at, kFile);
    stack_.push_back({body_[at] == '{', is, !stack_.empty() && stack_.back().object ? name_ : ""});
    named_ = false;
  }

  void take(Span string) {
    if (stack_.empty()) return;
    const Frame& parent = stack_.back();
    if (parent.object && !named_) {
      name_ = lowered(decoded(string.of(body_)));
      named_ = true;
      return;
    }
    // Of a list its own name, as of {"image_url": ["https://..."]}.
    value(parent.object ? name_ : parent.name, parent, string);
  }

  void value(const std::string& name, const Frame& parent, Span string) {
    const std::string_view text = string.of(body_);
    if (parent.is == Is::kRoot) {
      if (among(name, kHostedMembers)) tell(string.begin, kHosted);
    } else if (parent.is == Is::kTools) {
      if (parent.object && name == "type" && !client_tool(decoded(text))) tell(string.begin, kTool);
    } else if (parent.is == Is::kPart) {
      if (name == "file_id" || name == "file_ids") {
        tell(string.begin, kFile);
      } else if (name.ends_with("url") || name.ends_with("uri")) {
        if (!is_data(text)) tell(string.begin, kUrl);
      } else if (among(name, kMedia)) {
        // Bare base64 has neither; a scheme may be far inside only of what is none.
        const std::string_view begins = text.substr(0, 64);
        if (!is_data(text) && begins.find_first_of(":\\") != std::string_view::npos)
          tell(string.begin, kUrl);
      }
    }
  }

  // null is as if the member were not there.
  void word(std::size_t at) {
    if (stack_.empty()) return;
    const Frame& parent = stack_.back();
    if (parent.object && parent.is == Is::kRoot && body_[at] != 'n' && among(name_, kHostedMembers))
      tell(at, kHosted);
  }

  const Endpoint endpoint_;
  const std::string_view body_;
  std::vector<Frame> stack_;
  std::string name_;    // of the member whose value comes
  bool named_ = false;  // whether it has been read
  std::optional<ProviderSide> found_;
};

}  // namespace

std::optional<ProviderSide> find_provider_side(Endpoint endpoint, std::string_view body) {
  return Walk(endpoint, body).run();
}

}  // namespace palisade::gateway::llm
