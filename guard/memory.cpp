#include "guard/memory.h"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string_view>
#include <utility>

#include <sys/uio.h>

#include "guard/digest.h"

namespace palisade::guard {
namespace {

constexpr std::size_t kPage = 4096;
// The most that execve(2) takes for arguments and environment, whatever the stack's limit.
constexpr std::size_t kArgumentsMost = 6UL << 20;

// How many bytes there are from `address` to the end of its page: reads that stop there never fail
// for what lies behind.
std::size_t to_page_end(std::uint64_t address) {
  return kPage - (address & (kPage - 1));
}

// A window on the caller's memory, so that neighbouring strings cost one system call.
class Window {
 public:
  explicit Window(pid_t pid) : pid_(pid) {}

  // The bytes from `address` on that one read can give; never empty without an error.
  std::expected<std::span<const std::byte>, int> at(std::uint64_t address) {
    if (address < start_ || address >= start_ + length_) {
      auto read = read_some(pid_, address, bytes_);
      if (!read) {
        return std::unexpected(read.error());
      }
      start_ = address;
      length_ = *read;
    }
    const auto offset = static_cast<std::size_t>(address - start_);
    return std::span<const std::byte>(bytes_).subspan(offset, length_ - offset);
  }

  // Two windows of one process by one system call, each to the end of its page. What cannot be read
  // so stays for at(), which has the error.
  static void open(Window& one, std::uint64_t at_one, Window& other, std::uint64_t at_other) {
    const std::array lengths{to_page_end(at_one), to_page_end(at_other)};
    const std::array<iovec, 2> local{
        {{one.bytes_.data(), lengths[0]}, {other.bytes_.data(), lengths[1]}}};
    // NOLINTBEGIN(performance-no-int-to-ptr): the kernel judges them, none is guard's own
    const std::array<iovec, 2> remote{{{reinterpret_cast<void*>(at_one), lengths[0]},
                                       {reinterpret_cast<void*>(at_other), lengths[1]}}};
    // NOLINTEND(performance-no-int-to-ptr)
    const auto read =
        process_vm_readv(one.pid_, local.data(), local.size(), remote.data(), remote.size(), 0);
    const auto got = static_cast<std::size_t>(std::max<ssize_t>(read, 0));
    one.start_ = at_one;
    one.length_ = std::min(got, lengths[0]);
    other.start_ = at_other;
    other.length_ = got - one.length_;
  }

 private:
  pid_t pid_;
  std::array<std::byte, 2 * kPage> bytes_;  // not cleared: read_some() says what is there
  std::uint64_t start_ = 0;
  std::size_t length_ = 0;
};

// Reads one string through the window, in parts, up to `limit` bytes of it.
template <typename Take>
std::expected<std::size_t, int> one_word(Window& window, std::uint64_t address, std::size_t limit,
                                         Take take) {
  std::size_t length = 0;
  while (length < limit) {
    auto bytes = window.at(address + length);
    if (!bytes) {
      return std::unexpected(bytes.error());
    }
    const auto end = std::find(bytes->begin(), bytes->end(), std::byte{0});
    const auto part = static_cast<std::size_t>(end - bytes->begin());
    take(std::string_view(reinterpret_cast<const char*>(bytes->data()), part));
    length += part;
    if (end != bytes->end()) {
      return length;
    }
  }
  return length;
}

// Keeps the first `most` bytes of the words, and the digest of all once some are left out.
class Keeper {
 public:
  explicit Keeper(std::size_t most) : most_(most) {}

  // Once words are left out, none is begun: millions of empty ones must not take memory.
  void begin() {
    if (!digest_) words_.emplace_back();
  }
  void part(std::string_view bytes) {
    if (!digest_ && bytes.size() <= most_ - kept_) {
      words_.back() += bytes;
      kept_ += bytes.size();
      return;
    }
    cut();
    const auto room = std::min(bytes.size(), most_ - kept_);
    words_.back() += bytes.substr(0, room);
    kept_ += room;
    digest_->add(bytes);
  }
  void end() {
    if (digest_) {
      digest_->add(kNul);
    } else if (kept_ < most_) {
      ++kept_;
    } else {
      cut();
      digest_->add(kNul);
    }
  }
  void finish(Arguments& arguments) {
    if (digest_) {
      arguments.sha256 = digest_->hex();
    }
    arguments.words = std::move(words_);
  }

 private:
  // From here on the digest sees every byte; first what was kept, the last word without its NUL.
  void cut() {
    if (digest_) {
      return;
    }
    digest_ = std::make_unique<Sha256>();
    for (const auto& word : words_) {
      digest_->add(word);
      if (&word != &words_.back()) {
        digest_->add(kNul);
      }
    }
  }

  static constexpr std::string_view kNul{"\0", 1};

  std::size_t most_;
  std::size_t kept_ = 0;
  std::vector<std::string> words_;
  std::unique_ptr<Sha256> digest_;
};

}  // namespace

std::expected<std::size_t, int> read_some(pid_t pid, std::uint64_t address,
                                          std::span<std::byte> into) {
  // One remote part per page: the kernel gives what comes before the first page that is not there.
  constexpr std::size_t kParts = 64;
  std::array<iovec, kParts> remote{};
  std::size_t parts = 0;
  std::size_t planned = 0;
  while (planned < into.size() && parts < kParts) {
    const auto here = address + planned;
    const auto length = std::min(to_page_end(here), into.size() - planned);
    // The kernel judges the address; it is none of guard's own.
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    remote.at(parts++) = {reinterpret_cast<void*>(here), length};
    planned += length;
  }
  const iovec local{into.data(), planned};
  const auto read = process_vm_readv(pid, &local, 1, remote.data(), parts, 0);
  if (read < 0) {
    return std::unexpected(errno);
  }
  if (read == 0) {
    return std::unexpected(EFAULT);
  }
  return static_cast<std::size_t>(read);
}

std::expected<void, int> read_all(pid_t pid, std::uint64_t address, std::span<std::byte> into) {
  std::size_t done = 0;
  while (done < into.size()) {
    auto read = read_some(pid, address + done, into.subspan(done));
    if (!read) {
      return std::unexpected(read.error());
    }
    done += *read;
  }
  return {};
}

namespace {

std::expected<std::string, int> text_at(Window& window, std::uint64_t address, std::size_t most) {
  std::string text;
  auto length = one_word(window, address, most + 1, [&](std::string_view part) { text += part; });
  if (!length) {
    return std::unexpected(length.error());
  }
  if (text.size() > most) {
    return std::unexpected(ENAMETOOLONG);
  }
  return text;
}

std::expected<Arguments, int> arguments_at(Window& pointers, Window& strings, pid_t pid,
                                           std::uint64_t address, std::size_t most) {
  Arguments arguments;
  if (address == 0) {
    return arguments;
  }
  Keeper keeper(most);
  for (std::uint64_t at = address;; at += sizeof(std::uint64_t)) {
    std::uint64_t word_at = 0;
    auto bytes = pointers.at(at);
    if (!bytes) {
      return std::unexpected(bytes.error());
    }
    if (bytes->size() < sizeof word_at) {
      auto whole = read_object<std::uint64_t>(pid, at);
      if (!whole) {
        return std::unexpected(whole.error());
      }
      word_at = *whole;
    } else {
      std::memcpy(&word_at, bytes->data(), sizeof word_at);
    }
    if (word_at == 0 || arguments.bytes >= kArgumentsMost) {  // more the kernel refuses
      keeper.finish(arguments);
      return arguments;
    }
    keeper.begin();
    auto length = one_word(strings, word_at, kArgumentsMost - arguments.bytes,
                           [&](std::string_view part) { keeper.part(part); });
    if (!length) {
      return std::unexpected(length.error());
    }
    keeper.end();
    arguments.bytes += *length + 1;
  }
}

}  // namespace

std::expected<std::string, int> read_text(pid_t pid, std::uint64_t address, std::size_t most) {
  Window window(pid);
  return text_at(window, address, most);
}

std::expected<Arguments, int> read_arguments(pid_t pid, std::uint64_t address, std::size_t most) {
  Window pointers(pid);
  Window strings(pid);
  return arguments_at(pointers, strings, pid, address, most);
}

ExecText read_exec(pid_t pid, std::uint64_t path, std::size_t path_most, std::uint64_t arguments,
                   std::size_t arguments_most) {
  Window pointers(pid);
  Window strings(pid);
  if (arguments != 0) {
    Window::open(strings, path, pointers, arguments);
  }
  ExecText text{text_at(strings, path, path_most), {}};
  if (text.path) {
    text.arguments = arguments_at(pointers, strings, pid, arguments, arguments_most);
  } else {
    text.arguments = std::unexpected(text.path.error());
  }
  return text;
}

}  // namespace palisade::guard
