// `palisade controls`: the control table for people and programs. docs/controls.md is its Markdown.
#pragma once

#include <string>

namespace palisade::cli {

[[nodiscard]] std::string controls_text();
// One line each, with what is judged and the references.
[[nodiscard]] std::string controls_table();
[[nodiscard]] std::string controls_markdown();
[[nodiscard]] std::string controls_json();

}  // namespace palisade::cli
