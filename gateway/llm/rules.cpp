#include "rules.h"

#include <algorithm>
#include <array>
#include <utility>

#include "edit_paths.h"
#include "errors.h"
#include "json_scan.h"
#include "unicode.h"

namespace palisade::gateway::llm {
namespace {

constexpr std::size_t kShown = 80;

bool letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool word(char c) {
  return letter(c) || (c >= '0' && c <= '9') || c == '_';
}

std::string in_quotes(std::string_view text) {
  return "\"" + one_line(text, kShown) + "\"";
}

std::string named_code(std::uint32_t code) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string digits;
  for (unsigned shift = 24; shift > 0;) {
    shift -= 4;
    if (code >> shift != 0 || shift < 16) digits += kHex[(code >> shift) & 15U];
  }
  return "U+" + digits;
}

constexpr std::array<std::string_view, 19> kShells{
    "bash", "sh",         "shell",   "zsh",      "fish",         "ksh", "csh",
    "tcsh", "dash",       "console", "cmd",      "batch",        "bat", "dosbatch",
    "pwsh", "powershell", "ps1",     "terminal", "shell-session"};

// `name` at a word's beginning and, where it ends in a letter, at its end.
bool has_word(std::string_view line, std::string_view name) {
  for (std::size_t at = line.find(name); at != std::string_view::npos;
       at = line.find(name, at + 1)) {
    const std::size_t end = at + name.size();
    const bool begins = at == 0 || !word(name[0]) || (!word(line[at - 1]) && line[at - 1] != '.');
    const bool ends = !word(name.back()) || end >= line.size() || !word(line[end]);
    if (begins && ends) return true;
  }
  return false;
}

// Settings and options of git that run a program, or lead to more settings. In small letters.
constexpr std::array<std::string_view, 36> kGitWords{"core.hookspath",
                                                     "core.sshcommand",
                                                     "core.fsmonitor",
                                                     "core.editor",
                                                     "core.pager",
                                                     "core.askpass",
                                                     "core.gitproxy",
                                                     "core.attributesfile",
                                                     "core.alternaterefscommand",
                                                     "sequence.editor",
                                                     "credential.helper",
                                                     "gpg.program",
                                                     "diff.external",
                                                     "include.path",
                                                     "init.templatedir",
                                                     "interactive.difffilter",
                                                     "protocol.allow",
                                                     "protocol.ext.allow",
                                                     "protocol.file.allow",
                                                     "uploadpack.packobjectshook",
                                                     "web.browser",
                                                     "--upload-pack",
                                                     "--receive-pack",
                                                     "--exec-path=",
                                                     "--config-env",
                                                     "git_ssh",
                                                     "git_ssh_command",
                                                     "git_external_diff",
                                                     "git_proxy_command",
                                                     "git_askpass",
                                                     "git_exec_path",
                                                     "git_template_dir",
                                                     "git_config_parameters",
                                                     "git_config_global",
                                                     "git_config_count",
                                                     "git_editor"};

// SECTION.NAME.KEY
struct Named {
  std::string_view section;
  std::string_view key;
};
constexpr std::array<Named, 15> kGitNamed{{{"filter.", ".clean"},
                                           {"filter.", ".smudge"},
                                           {"filter.", ".process"},
                                           {"diff.", ".command"},
                                           {"diff.", ".textconv"},
                                           {"merge.", ".driver"},
                                           {"mergetool.", ".cmd"},
                                           {"difftool.", ".cmd"},
                                           {"browser.", ".cmd"},
                                           {"man.", ".cmd"},
                                           {"trailer.", ".command"},
                                           {"trailer.", ".cmd"},
                                           {"remote.", ".uploadpack"},
                                           {"remote.", ".receivepack"},
                                           {"submodule.", ".update"}}};

bool has_named(std::string_view line, const Named& named) {
  for (std::size_t at = line.find(named.section); at != std::string_view::npos;
       at = line.find(named.section, at + 1)) {
    if (at > 0 && (word(line[at - 1]) || line[at - 1] == '.')) continue;
    std::size_t end = at + named.section.size();
    while (end < line.size() && (word(line[end]) || line[end] == '-' || line[end] == '/'))
      ++end;
    if (end == at + named.section.size() || !line.substr(end).starts_with(named.key)) continue;
    end += named.key.size();
    // x = filter.a.clean() is a program's.
    if (end >= line.size() || (!word(line[end]) && line[end] != '(')) return true;
  }
  return false;
}

// [core] hooksPath = ..., as the file writes what the command line writes core.hooksPath.
bool is_setting(std::string_view line) {
  static constexpr std::array<std::string_view, 9> kKeys{
      "hookspath", "sshcommand", "fsmonitor",       "askpass",       "textconv",
      "smudge",    "gitproxy",   "packobjectshook", "attributesfile"};
  static constexpr std::array<std::string_view, 5> kSections{"[filter \"", "[merge \"", "[include]",
                                                             "[includeif ", "[diff \""};
  if (std::ranges::any_of(kSections, [&](std::string_view s) { return line.starts_with(s); }))
    return true;
  const std::size_t equals = line.find('=');
  if (equals == std::string_view::npos) return false;
  const std::string_view key = trimmed(line.substr(0, equals));
  const std::string_view value = trimmed(line.substr(equals + 1));
  if (key == "update" && value.starts_with('!')) return true;
  return std::ranges::find(kKeys, key) != kKeys.end() && !value.empty() && value[0] != '=';
}

bool has_alias(std::string_view line) {
  const std::size_t at = line.find("alias.");
  return at != std::string_view::npos && line.find('!', at) != std::string_view::npos;
}

// ext::COMMAND, where git may be meant.
bool has_transport(std::string_view line) {
  for (const std::string_view helper : {"ext::", "fd::"}) {
    const std::size_t at = line.find(helper);
    if (at == std::string_view::npos || (at > 0 && word(line[at - 1]))) continue;
    const std::string_view rest = line.substr(at + helper.size());
    if (line.find("git") != std::string_view::npos || line.find("url") != std::string_view::npos ||
        rest.starts_with("sh") || rest.starts_with('/') || rest.starts_with("bash"))
      return true;
  }
  return false;
}

bool has_driver_attribute(std::string_view line) {
  for (const std::string_view attribute :
       {" filter=", " diff=", " merge=", "\tfilter=", "\tdiff=", "\tmerge="}) {
    if (line.find(attribute) != std::string_view::npos) return true;
  }
  return false;
}

// A joiner is part of an emoji, or of a script that needs it.
bool joins(std::uint32_t before, std::uint32_t after) {
  const auto emoji = [](std::uint32_t code) {
    return code >= 0x1F000 || code == 0xFE0F || (code >= 0x2600 && code <= 0x27BF);
  };
  const auto script = [](std::uint32_t code) { return code >= 0x600 && code <= 0xDFF; };
  return (emoji(before) && (emoji(after) || (after >= 0x2190 && after <= 0x2BFF))) ||
         (script(before) && script(after));
}

// A word whose letters are Latin but for some that only look so.
class Words {
 public:
  bool add(std::uint32_t code) {
    const bool ascii = code < 0x80;
    if (ascii && letter(static_cast<char>(code))) {
      latin_ = true;
    } else if (is_double(code)) {
      double_ = code;
    } else if (code >= 0x370 && code <= 0x52F) {
      other_ = true;
    } else if (!ascii || !word(static_cast<char>(code))) {
      return end();
    }
    return false;
  }
  bool end() {
    const bool mixed = latin_ && double_ != 0 && !other_;
    if (mixed) found_ = double_;
    latin_ = other_ = false;
    double_ = 0;
    return mixed;
  }
  [[nodiscard]] std::uint32_t found() const { return found_; }

 private:
  bool latin_ = false;
  bool other_ = false;
  std::uint32_t double_ = 0;
  std::uint32_t found_ = 0;
};

bool is_slash(std::uint32_t code) {
  return code == 0x2044 || code == 0x2215 || code == 0x29F8 || code == 0xFF0F;
}

std::string first_of(const std::vector<std::string>& texts, std::string (*rule)(std::string_view)) {
  for (const std::string& text : texts) {
    if (std::string found = rule(text); !found.empty()) return found;
  }
  return {};
}

// A tool call's strings, and which of them are paths.
struct Arguments {
  std::vector<std::string> texts;
  std::vector<std::string> paths;
};
Arguments arguments_of(const std::string& written) {
  Arguments out;
  if (!check_json(written)) {
    out.texts.push_back(written);
    return out;
  }
  std::string name;
  std::size_t at = 0;
  while (const auto string = next_string(written, at)) {
    at = string->end;
    std::string text = decoded(string->of(written));
    if (is_name(written, *string)) {
      name = lower_case(text);
      continue;
    }
    for (const std::string_view path : {"path", "file", "dir", "directory", "cwd", "filename"}) {
      if (name.ends_with(path)) {
        out.paths.push_back(text);
        break;
      }
    }
    out.texts.push_back(std::move(text));
  }
  return out;
}

std::string shell_tool(std::string_view tool) {
  std::string name = lower_case(tool);
  for (const std::string_view shell : kShells) {
    if (has_word(name, shell)) return "a call of the tool " + in_quotes(tool);
  }
  for (const std::string_view runs : {"run_command", "execute_command", "exec", "run_shell",
                                      "run_terminal", "run_bash", "run_script"}) {
    if (name.find(runs) != std::string_view::npos) return "a call of the tool " + in_quotes(tool);
  }
  return {};
}

std::string path_argument(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (leads_outside(path)) return "the tool call's path " + in_quotes(path);
  }
  return {};
}

}  // namespace

std::string shell_block(std::string_view text) {
  const auto lines = lines_of(text);
  bool inside = false;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (!is_fence(lines[i])) continue;
    const std::string info = lower_case(fence_info(lines[i]));
    // Whatever is named so opens a block, also where the one before was not closed.
    const bool opens = !inside || !info.empty();
    inside = opens;
    if (!opens) continue;
    // A shell script that is edited is no command.
    const bool edit = (i + 1 < lines.size() && is_search_head(lines[i + 1])) ||
                      (i + 2 < lines.size() && is_search_head(lines[i + 2]));
    if (edit) continue;
    const std::string_view language = std::string_view(info).substr(0, info.find_first_of(" {:,"));
    if (std::ranges::find(kShells, language) != kShells.end())
      return "a block of " + in_quotes(language) + " commands";
    // Agents take a prefix for the language: ```bash-session
    for (const std::string_view shell : {"bash", "shell", "powershell", "zsh", "batch", "cmd"}) {
      if (info.starts_with(shell)) return "a block of " + in_quotes(language) + " commands";
    }
    if (!info.empty() || i + 1 >= lines.size()) continue;
    const std::string_view first = trimmed(lines[i + 1]);
    if (first.starts_with("$ ") || first.starts_with("# apt") || first.starts_with("#!/bin/sh") ||
        first.starts_with("#!/bin/bash") || first.starts_with("#!/usr/bin/env bash") ||
        first.starts_with("#!/usr/bin/env sh"))
      return "a block that begins with " + in_quotes(first);
  }
  return {};
}

std::string outside_path(std::string_view text) {
  for (const std::string& path : edited_paths(text)) {
    if (leads_outside(path)) return "an edit of " + in_quotes(path);
  }
  return {};
}

std::string git_option(std::string_view text) {
  for (const std::string& path : edited_paths(text)) {
    if (is_in_git_directory(path)) return "an edit of " + in_quotes(path);
  }
  const bool attributes = text.find(".gitattributes") != std::string_view::npos ||
                          text.find("info/attributes") != std::string_view::npos;
  for (const std::string_view original : lines_of(text)) {
    const std::string line = lower_case(trimmed(original));
    if (line.empty()) continue;
    const bool found =
        std::ranges::any_of(kGitWords, [&](std::string_view w) { return has_word(line, w); }) ||
        std::ranges::any_of(kGitNamed,
                            [&](const Named& named) { return has_named(line, named); }) ||
        line.find(".git/hooks") != std::string::npos ||
        line.find(".git/config") != std::string::npos ||
        line.find(".git/info/attributes") != std::string::npos || has_alias(line) ||
        has_transport(line) || is_setting(line) || (attributes && has_driver_attribute(line));
    if (found) return in_quotes(trimmed(original));
  }
  return {};
}

std::string look_alike(std::string_view text) {
  Words words;
  std::uint32_t before = 0;
  std::size_t at = 0;
  const auto mixed = [&] {
    return "a word of Latin letters with " + named_code(words.found()) + ", which only looks so";
  };
  while (at < text.size()) {
    const CodePoint point = code_point(text, at);
    const std::size_t end = at + point.length;
    const std::uint32_t after = end < text.size() ? code_point(text, end).code : 0;
    const auto plain = [](std::uint32_t code) {
      return code < 0x80 && word(static_cast<char>(code));
    };
    if (words.add(point.code)) return mixed();
    if (is_directional(point.code))
      return named_code(point.code) + ", which changes the direction or the lines of what is read";
    if (is_control(point.code)) return "the control character " + named_code(point.code);
    const bool joiner = point.code == 0x200C || point.code == 0x200D;
    if (is_invisible(point.code) && !(joiner && joins(before, after)))
      return "the invisible character " + named_code(point.code);
    if (is_styled(point.code) && (point.code >= 0x1D400 || plain(before) || plain(after)))
      return named_code(point.code) + ", which stands for an ASCII character";
    if (is_slash(point.code) && plain(before) && plain(after))
      return named_code(point.code) + ", which looks like a slash";
    before = point.code;
    at = end;
  }
  return words.end() ? mixed() : std::string();
}

std::vector<Finding> judge(const std::map<ReplyReader::Key, Said>& said, const ReplyRules& rules) {
  std::vector<Finding> out;
  const auto add = [&](std::string_view rule, Action action, std::string what) {
    if (what.empty()) return;
    if (std::ranges::any_of(out, [&](const Finding& found) { return found.rule == rule; })) return;
    out.push_back({rule, action, std::move(what)});
  };
  for (const auto& [key, part] : said) {
    const bool tool = key.second >= 0;
    const Arguments arguments = tool ? arguments_of(part.text) : Arguments{{part.text}, {}};
    const std::vector<std::string>& texts = arguments.texts;
    if (rules.shell_blocks != Action::kOff)
      add("shellBlocks", rules.shell_blocks,
          tool ? shell_tool(part.tool) : first_of(texts, shell_block));
    if (rules.outside_paths != Action::kOff) {
      add("outsidePaths", rules.outside_paths, path_argument(arguments.paths));
      add("outsidePaths", rules.outside_paths, first_of(texts, outside_path));
    }
    if (rules.git_options != Action::kOff) {
      for (const std::string& path : arguments.paths) {
        if (is_in_git_directory(path))
          add("gitOptions", rules.git_options, "the tool call's path " + in_quotes(path));
      }
      add("gitOptions", rules.git_options, first_of(texts, git_option));
    }
    if (rules.look_alikes != Action::kOff)
      add("lookAlikes", rules.look_alikes, first_of(texts, look_alike));
  }
  return out;
}

}  // namespace palisade::gateway::llm
