#include <algorithm>

#include <gateway/archive/store.h>

namespace palisade::gateway::archive {

namespace {

constexpr std::size_t kLongest = 253;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.';
}

}  // namespace

const char* file_of(Stream stream) {
  return stream == Stream::kRecord ? "record.jsonl" : "output.log";
}

std::string Place::path() const {
  return ns + "/" + workspace + "/" + workspace_uid + "/" + pod_uid;
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= kLongest && name.front() != '.' &&
         name.find("..") == std::string_view::npos && std::ranges::all_of(name, is_name_character);
}

std::expected<Place, Refusal> place_of(const Caller& caller) {
  Place out{caller.ns, caller.workspace, caller.workspace_uid, caller.pod_uid};
  for (const std::string* name : {&out.ns, &out.workspace, &out.workspace_uid, &out.pod_uid}) {
    if (!is_plain_name(*name))
      return std::unexpected(
          Refusal{403, "bad_name", "a name of this session is none that an archive can have"});
  }
  return out;
}

}  // namespace palisade::gateway::archive
