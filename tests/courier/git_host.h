// A real git host for the tests: git_http_server (HTTPS, Basic authentication, `git http-backend`)
// with one repository, app.git, whose main branch has two commits.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "process.h"

namespace palisade::courier::testing {

// The test's own git: no configuration but its arguments', a fixed identity, every object written
// loose.
Outcome git(const std::filesystem::path& directory, const Arguments& arguments);
// Its standard output without the last newline; throws std::runtime_error with git's words when it
// fails.
std::string git_text(const std::filesystem::path& directory, const Arguments& arguments);

inline constexpr const char* kUser = "palisade-bot";
// 40 hex digits, as Gitea's tokens are: it would pass for an object's name.
inline constexpr const char* kToken = "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2";

class GitHost {
 public:
  explicit GitHost(const std::filesystem::path& directory);
  ~GitHost();
  GitHost(const GitHost&) = delete;
  GitHost& operator=(const GitHost&) = delete;

  // `place` as git_http_server has them: git, redirect, stall, echo.
  [[nodiscard]] std::string url(std::string_view place = "git", std::string_view name = "app");
  [[nodiscard]] std::filesystem::path certificate() const;
  [[nodiscard]] const std::filesystem::path& repository() const { return repository_; }
  void set_token(std::string_view token) const;
  // From now on every request is answered as below /redirect/.
  void redirect_everything();
  // Object name of a ref of app.git, "" when there is none.
  [[nodiscard]] std::string ref(std::string_view name) const;
  // `git for-each-ref`, one line per ref.
  [[nodiscard]] std::string refs() const;
  // A commit on top of `ref` made by someone else than the courier; returns its name.
  std::string commit(std::string_view ref, std::string_view file, std::string_view content) const;
  // A hook of the repository (bash source).
  void hook(std::string_view name, std::string_view script) const;
  [[nodiscard]] std::vector<nlohmann::json> requests() const;
  // Where /redirect/ leads.
  [[nodiscard]] std::vector<nlohmann::json> thief_requests() const;

 private:
  struct Server;
  void start_thief();
  std::filesystem::path directory_, repository_;
  std::unique_ptr<Server> thief_, server_;
};

}  // namespace palisade::courier::testing
