// Text as JSON writes it.
// Source: RFC 8259, section 7
#pragma once

#include <string>
#include <string_view>

namespace palisade::policy {

// Appends `text` (UTF-8) as a JSON string. Control characters, DEL among them, are escaped: what a
// terminal shows of it moves nothing.
void append_json(std::string& out, std::string_view text);

// Appends a slash and `part` as one reference token of a JSON pointer.
// Source: RFC 6901, section 3
void append_pointer_part(std::string& out, std::string_view part);

}  // namespace palisade::policy
