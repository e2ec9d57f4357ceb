// What is read of a program file: ELF program headers (elf(5)) or the line behind #!.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include <elf.h>
#include <unistd.h>

#include "guard/programs.h"

namespace palisade::guard {
namespace {

constexpr std::size_t kShebangMost = 256;  // BINPRM_BUF_SIZE
constexpr std::size_t kHeadersMost = 128;
constexpr std::size_t kDynamicMost = 4096;
constexpr Elf64_Sxword kPieFlag = 0x08000000;  // DF_1_PIE

bool read_at(int fd, void* into, std::size_t size, std::uint64_t offset) {
  return pread(fd, into, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

std::expected<Image, int> read_script(std::string_view head) {
  const auto end = head.find('\n');
  auto line = head.substr(2, end == std::string_view::npos ? end : end - 2);
  constexpr std::string_view kBlank = " \t\r";
  const auto start = line.find_first_not_of(kBlank);
  if (start == std::string_view::npos) {
    return std::unexpected(ENOEXEC);
  }
  line.remove_prefix(start);
  const auto word = line.find_first_of(kBlank);
  Image image;
  image.program = true;
  image.shebang = line.substr(0, word);
  if (word != std::string_view::npos) {
    const auto rest = line.find_first_not_of(kBlank, word);
    if (rest != std::string_view::npos) {
      const auto last = line.find_last_not_of(kBlank);
      image.argument = line.substr(rest, last - rest + 1);
    }
  }
  return image;
}

// Whether the dynamic section marks a position-independent executable.
bool marked_as_program(int fd, const Elf64_Phdr& dynamic) {
  std::vector<Elf64_Dyn> entries(
      std::min<std::size_t>(dynamic.p_filesz / sizeof(Elf64_Dyn), kDynamicMost));
  if (!read_at(fd, entries.data(), entries.size() * sizeof(Elf64_Dyn), dynamic.p_offset)) {
    return true;
  }
  return std::any_of(entries.begin(), entries.end(), [](const Elf64_Dyn& entry) {
    return entry.d_tag == DT_FLAGS_1 &&
           (static_cast<Elf64_Sxword>(entry.d_un.d_val) & kPieFlag) != 0;
  });
}

std::expected<Image, int> read_elf(int fd) {
  Elf64_Ehdr header{};
  if (!read_at(fd, &header, sizeof header, 0) || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 ||
      header.e_phnum > kHeadersMost) {
    return std::unexpected(ENOEXEC);
  }
  std::vector<Elf64_Phdr> headers(header.e_phnum);
  if (!read_at(fd, headers.data(), headers.size() * sizeof(Elf64_Phdr), header.e_phoff)) {
    return std::unexpected(ENOEXEC);
  }
  Image image;
  image.elf = true;
  image.program = header.e_type != ET_DYN;
  for (const auto& part : headers) {
    if (part.p_type == PT_DYNAMIC) {
      image.program = image.program || marked_as_program(fd, part);
    }
    if (part.p_type != PT_INTERP) {
      continue;
    }
    std::array<char, 4096> name{};
    if (part.p_filesz < 2 || part.p_filesz > name.size() ||
        !read_at(fd, name.data(), part.p_filesz, part.p_offset) ||
        name.at(part.p_filesz - 1) != 0) {
      return std::unexpected(ENOEXEC);
    }
    image.program = true;
    image.interpreter = name.data();
  }
  return image;
}

}  // namespace

std::expected<Image, int> read_image(int fd) {
  std::array<char, kShebangMost> head{};
  const auto length = pread(fd, head.data(), head.size(), 0);
  if (length < 0) {
    return std::unexpected(errno);
  }
  const std::string_view bytes(head.data(), static_cast<std::size_t>(length));
  if (bytes.starts_with("#!")) {
    return read_script(bytes);
  }
  if (bytes.starts_with(std::string_view(ELFMAG, SELFMAG))) {
    return read_elf(fd);
  }
  return std::unexpected(ENOEXEC);
}

}  // namespace palisade::guard
