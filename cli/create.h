// An AgentWorkspace out of what a command line says. Pure: no cluster, no files.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace palisade::cli {

// "" and false: not said, so that the API server's own default counts.
struct CreateOptions {
  std::string name;  // "": made from the message
  std::string ns;
  std::vector<std::string> labels;  // KEY=VALUE
  std::string from_template;        // an AgentWorkspaceTemplate

  std::string message;  // "": an interactive session
  std::vector<std::string> files;
  std::string lint_command;  // split into words
  std::string test_command;
  int rounds = 0;

  std::string url;
  std::string ref;
  std::string branch;
  bool read_only = false;
  std::string mount;
  std::string output_dir;
  std::string via;
  // "NAME" or "NAME/KEY"; one of the four at most.
  std::string git_secret;
  std::string github_app;  // "ID:SECRET" or "ID:SECRET/KEY"
  std::string gitlab_secret;
  std::string gitea_secret;   // NAME alone
  std::string merge_request;  // "open" or "draft"
  std::string title;

  std::string image;
  std::string model;
  std::vector<std::string> models;  // beside `model`
  std::string gateway;
  std::string llm_secret;  // "NAME" or "NAME/KEY"
  std::int64_t tokens = 0;
  std::string cost;
  std::vector<std::string> limits;  // cpu=2

  std::string deadline;
  std::string idle_timeout;
  std::string command_timeout;
  std::string ttl;
  std::string runtime_class;
  std::vector<std::string> allow;  // programs
  std::string storage;             // size of a volume of its own
  std::optional<std::string> storage_class;
  bool retain = false;  // that volume, after the workspace
};

// The object to send, or which option is wrong and how to put it right. What only the API server
// knows (its schema's patterns, the policies of the namespace) it says itself.
[[nodiscard]] std::expected<nlohmann::json, std::string> workspace_of(const CreateOptions& options);

// What a person wrote (an issue, say) as a task's message: line ends as \n, trimmed. Errors: no
// text, not UTF-8, control characters, or more than a message may have.
[[nodiscard]] std::expected<std::string, std::string> message_of(std::string text);

// A name of at most 40 characters out of a message's first line: "Fix the login form!" is
// "fix-the-login-form". "task" where nothing of it can be in a name.
[[nodiscard]] std::string name_of(std::string_view message);

// `name` with a random end, for where it is taken: "fix-the-login-form-x7k2p".
[[nodiscard]] std::string another_name(std::string_view name);

// A command's words as a shell splits them: blanks, '...', "..." and \. Nothing is expanded, and
// what would need a shell (pipes, variables, several commands) is an error.
[[nodiscard]] std::expected<std::vector<std::string>, std::string> words_of(std::string_view line);

}  // namespace palisade::cli
