#include "docs/documents.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace palisade::docs::testing {
namespace {

constexpr std::array<std::string_view, 4> kPrograms{"palisade", "kubectl", "helm", "make"};

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const auto end = text.find('\n');
    out.emplace_back(text.substr(0, end));
    text = end == std::string_view::npos ? "" : text.substr(end + 1);
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::optional<std::string> said(std::string_view line, std::string_view what) {
  const std::string before = "<!-- " + std::string(what) + ": ";
  constexpr std::string_view kAfter = " -->";
  line = trimmed(line);
  if (!line.starts_with(before) || !line.ends_with(kAfter)) return std::nullopt;
  return std::string(line.substr(before.size(), line.size() - before.size() - kAfter.size()));
}

// An indented line that is a command, without its prompt.
std::optional<std::string> indented_command(std::string_view line) {
  if (!line.starts_with("    ")) return std::nullopt;
  line = trimmed(line);
  if (line.starts_with("$ ")) line = line.substr(2);
  const auto word = line.substr(0, line.find(' '));
  if (word.size() == line.size() || std::ranges::find(kPrograms, word) == kPrograms.end())
    return std::nullopt;
  return std::string(line);
}

// The words of a line, with operators as words of their own behind an unprintable mark.
constexpr char kOperator = '\x01';
std::optional<std::vector<std::string>> words_of(std::string_view line) {
  std::vector<std::string> out;
  std::string word;
  bool within = false;
  const auto end_word = [&] {
    if (within) out.push_back(word);
    word.clear();
    within = false;
  };
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '\'' || c == '"') {
      within = true;
      std::size_t end = i + 1;
      while (end < line.size() && line[end] != c) {
        if (c == '"' && line[end] == '\\' && end + 1 < line.size()) ++end;
        word += line[end++];
      }
      if (end >= line.size()) return std::nullopt;
      i = end;
    } else if (c == ' ' || c == '\t') {
      end_word();
    } else if (c == '#' && !within) {
      break;
    } else if (std::string_view("|&;<>").find(c) != std::string_view::npos) {
      end_word();
      std::string op(1, kOperator);
      while (i < line.size() && std::string_view("|&;<>").find(line[i]) != std::string_view::npos)
        op += line[i++];
      --i;
      out.push_back(op);
    } else {
      within = true;
      word += c;
    }
  }
  end_word();
  return out;
}

bool is_setting(std::string_view word) {
  const auto equals = word.find('=');
  if (equals == std::string_view::npos || equals == 0) return false;
  return std::ranges::all_of(word.substr(0, equals),
                             [](char c) { return c == '_' || (c >= 'A' && c <= 'Z'); });
}

void add_commands(std::string_view line, std::vector<Command>& out) {
  const auto words = words_of(line);
  if (!words) {
    out.emplace_back();
    return;
  }
  Command command;
  bool target = false;  // of a redirection
  const auto end = [&](bool piped) {
    if (!command.words.empty()) out.push_back(command);
    command = {};
    command.piped = piped;
  };
  for (const std::string& word : *words) {
    if (word.starts_with(kOperator)) {
      target = word.find_first_of("<>") != std::string::npos;
      if (!target) end(word.substr(1) == "|");
    } else if (target) {
      target = false;
    } else if (!command.words.empty() || !is_setting(word)) {
      command.words.push_back(word);
    }
  }
  end(false);
}

}  // namespace

Document read_document(const std::filesystem::path& file, std::string_view text) {
  Document out;
  std::string not_run;
  std::string part_of;
  int marked = 0;  // where a comment stands that no block has taken yet
  const auto take = [&](Block block) {
    block.file = file;
    block.not_run = std::exchange(not_run, "");
    block.part_of = std::exchange(part_of, "");
    marked = 0;
    out.blocks.push_back(std::move(block));
  };
  std::optional<Block> open;
  std::size_t indent = 0;
  int number = 0;
  for (const std::string& line : lines_of(text)) {
    ++number;
    const std::string_view bare = trimmed(line);
    if (open) {
      if (bare == "```") {
        take(*open);
        open.reset();
      } else {
        open->text += line.substr(std::min(indent, line.size())) + "\n";
      }
    } else if (bare.starts_with("```")) {
      open.emplace();
      open->line = number;
      open->language = bare.substr(3);
      indent = line.find('`');
    } else if (const auto reason = said(line, "not run")) {
      not_run = *reason;
      marked = number;
    } else if (const auto part = said(line, "part of")) {
      part_of = *part;
      marked = number;
    } else if (const auto command = indented_command(line)) {
      // Lines that belong together are one block.
      if (!out.blocks.empty() && out.blocks.back().language == "indented" &&
          out.blocks.back().line + std::ranges::count(out.blocks.back().text, '\n') == number) {
        out.blocks.back().text += *command + "\n";
      } else {
        Block block;
        block.line = number;
        block.language = "indented";
        block.text = *command + "\n";
        take(std::move(block));
      }
    } else if (marked != 0 && !bare.empty()) {
      out.errors.push_back(file.string() + ":" + std::to_string(marked) + ": no block follows");
      marked = 0;
      not_run = part_of = "";
    }
  }
  if (open) out.errors.push_back(open->place() + ": the fence is not closed");
  return out;
}

std::vector<Command> commands_of(const Block& block) {
  std::vector<Command> out;
  std::string joined;
  const bool console = block.language == "console";
  for (std::string line : lines_of(block.text)) {
    if (joined.empty() && console) {
      if (!line.starts_with("$ ")) continue;
      line = line.substr(2);
    }
    joined += line;
    if (joined.ends_with('\\')) {
      joined.back() = ' ';
      continue;
    }
    add_commands(joined, out);
    joined.clear();
  }
  return out;
}

}  // namespace palisade::docs::testing
