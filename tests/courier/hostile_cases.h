// Workspaces as an agent that means harm could leave them. Each case is one of them;
// hostile_test.cpp says what must hold in every one.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "session.h"

namespace palisade::courier::testing {

struct Made {
  // The agent's commit: what the branch on the host becomes, or does not where the case says why.
  std::string tip;
  // Arguments with which a plain git in this workspace runs the payload, so that a trap that has
  // become none is noticed; empty where no program is at stake.
  Arguments trap;
  std::function<void(Session&)> after;  // further assertions at the end; may be empty
};

struct HostileCase {
  const char* name;
  // What the report's error says; "" where the work arrives all the same.
  const char* says;
  std::function<Made(Session&)> make;
  std::function<void(Session&)> configure;  // before the courier starts; may be empty
};

// Configuration, hooks and attributes; other shapes of .git; refs.
std::vector<HostileCase> surroundings_cases();
// Loose objects, packs, and what git hangs on to them.
std::vector<HostileCase> object_cases();

// Replace what is there.
void make_link(const std::filesystem::path& path, const std::filesystem::path& target);
void make_pipe(const std::filesystem::path& path);
void make_text(const std::filesystem::path& path, std::string_view text);
// Zeros that take no room.
void make_sparse(const std::filesystem::path& path, std::uintmax_t size);
void append(const std::filesystem::path& path, std::string_view text);

}  // namespace palisade::courier::testing
