#include "guard/notification.h"

#include <sys/ioctl.h>

namespace palisade::guard {

bool Notification::alive() const {
  auto id = call.id;
  return ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

bool Notification::give(int fd, bool close_on_exec) const {
  seccomp_notif_addfd request{};
  request.id = call.id;
  request.flags = SECCOMP_ADDFD_FLAG_SEND;
  request.srcfd = static_cast<std::uint32_t>(fd);
  request.newfd_flags = close_on_exec ? 02000000U : 0U;  // O_CLOEXEC
  return ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &request) >= 0;
}

bool Notification::reply(const Answer& answer) const {
  seccomp_notif_resp response{};
  response.id = call.id;
  switch (answer.kind) {
    case Answer::Kind::kDone:
      return true;
    case Answer::Kind::kContinue:
      response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
      break;
    case Answer::Kind::kError:
      response.error = -answer.error;
      break;
    case Answer::Kind::kReturn:
      response.val = answer.value;
      break;
  }
  return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0;
}

}  // namespace palisade::guard
