#include "guard/await.h"

#include <cerrno>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "guard/proc.h"

namespace palisade::guard {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMostAwaited = 1 << 20;
constexpr auto kPoll = 20ms;

}  // namespace

std::expected<std::string, std::string> read_text(const std::string& path) {
  const auto wrong = [&](const std::string& what) {
    return std::unexpected(path + ": " + what + ": " + std::strerror(errno));
  };
  const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) {
    return wrong("cannot be opened");
  }
  // One more than is taken: whoever parses it sees that it is too long.
  std::string bytes(kMostAwaited + 1, '\0');
  std::size_t length = 0;
  while (length < bytes.size()) {
    const auto read = ::read(file.get(), bytes.data() + length, bytes.size() - length);
    if (read < 0 && errno == EINTR) {
      continue;
    }
    if (read < 0) {
      return wrong("cannot be read");
    }
    if (read == 0) {
      break;
    }
    length += static_cast<std::size_t>(read);
  }
  bytes.resize(length);
  return bytes;
}

std::expected<std::vector<std::string>, std::string> await_words(
    const std::string& path, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (access(path.c_str(), F_OK) != 0) {
    if (std::chrono::steady_clock::now() >= deadline) {
      return std::unexpected(path + ": was not there in time");
    }
    std::this_thread::sleep_for(kPoll);
  }
  const auto text = read_text(path);
  if (!text) {
    return std::unexpected(text.error());
  }
  const auto broken = [&] {
    return std::unexpected(path + ": must be a JSON list of words, the program first");
  };
  const auto list =
      text->size() > kMostAwaited ? nlohmann::json() : nlohmann::json::parse(*text, nullptr, false);
  if (!list.is_array() || list.empty()) {
    return broken();
  }
  std::vector<std::string> words;
  for (const auto& item : list) {
    if (!item.is_string()) {
      return broken();
    }
    words.push_back(item.get<std::string>());
    if (words.back().find('\0') != std::string::npos) {
      return broken();
    }
  }
  if (words.front().empty()) {
    return broken();
  }
  return words;
}

}  // namespace palisade::guard
