// The documents as blocks of code: what they show to be typed or written. Fenced blocks, and
// indented lines that are commands.
//
// A comment right above a block says what cannot be seen from it:
//   <!-- not run: REASON -->          its commands or objects cannot be tried here
//   <!-- part of: AgentWorkspace spec.repository -->     where its YAML belongs
//   <!-- part of: values gateway.config.llm -->
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::docs::testing {

struct Block {
  std::filesystem::path file;  // below the repository
  int line = 0;                // of its fence
  std::string language;        // "" where none is said
  std::string text;
  std::string not_run;  // the reason
  std::string part_of;
  [[nodiscard]] std::string place() const { return file.string() + ":" + std::to_string(line); }
};

// A fence that is not closed, and a comment of the above with no block below it, are errors.
struct Document {
  std::vector<Block> blocks;
  std::vector<std::string> errors;
};
[[nodiscard]] Document read_document(const std::filesystem::path& file, std::string_view text);

// One command of a line of a shell, by its words. `piped`: it reads what the one before it prints.
struct Command {
  std::vector<std::string> words;
  bool piped = false;
};

// The commands of a block: of `sh` all lines, of `console` those after "$ ". Comments, redirections
// and settings of variables are left out; a quote that is not closed is an error (an empty list
// with one empty command).
[[nodiscard]] std::vector<Command> commands_of(const Block& block);

}  // namespace palisade::docs::testing
