// What a reply proposes that an agent should not do. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <gateway/llm/config.h>

#include "reply.h"

namespace palisade::gateway::llm {

struct Finding {
  std::string_view rule;  // "shellBlocks", as in the configuration
  Action action = Action::kFlag;
  std::string what;  // for a person: one line, bounded
};

// At most one for each rule: the first.
[[nodiscard]] std::vector<Finding> judge(const std::map<ReplyReader::Key, Said>& said,
                                         const ReplyRules& rules);

// The rules by themselves, of one text; "" where nothing is found, else what it is.
[[nodiscard]] std::string shell_block(std::string_view text);
[[nodiscard]] std::string outside_path(std::string_view text);
[[nodiscard]] std::string git_option(std::string_view text);
[[nodiscard]] std::string look_alike(std::string_view text);

}  // namespace palisade::gateway::llm
