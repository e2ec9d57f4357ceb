#pragma once

#include <cerrno>
#include <system_error>

namespace palisade::guard {

// What errno says of `what`, as a std::system_error.
[[noreturn]] inline void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace palisade::guard
