// What gives a key away: the name of a variable or flag, or the look of a value.
#pragma once

#include <string>
#include <string_view>

namespace palisade::policy {

// Whether a variable's or flag's name says that a key is in it: OPENAI_API_KEY, HF_TOKEN,
// anthropic-api-key. Case does not matter, nor whether it is written with - or _.
[[nodiscard]] bool names_key(std::string_view name);

// Whether the value of such a name is a key: not empty, no placeholder (none, dummy), no reference
// to a variable. PROVIDER=KEY is taken apart, as Aider's --api-key is.
[[nodiscard]] bool key_value(std::string_view value);

// Whether a word of a command line is a flag whose key is the next word: --openai-api-key, also
// shortened as argparse lets one.
[[nodiscard]] bool key_flag(std::string_view word);

// Whether a text gives a key itself: --api-key=openai=KEY, OPENAI_API_KEY=KEY, also inside a
// script.
[[nodiscard]] bool gives_key(std::string_view text);

// Whether a text has a vendor's key anywhere in it: sk-..., AIza..., hf_...
[[nodiscard]] bool looks_like_key(std::string_view text);

// The same for CEL: expressions that hold where a text gives a key. `text` is a CEL expression of a
// string; `name` and `value` are those of a variable.
[[nodiscard]] std::string cel_gives_key(std::string_view text);
[[nodiscard]] std::string cel_variable_gives_key(std::string_view name, std::string_view value);

}  // namespace palisade::policy
