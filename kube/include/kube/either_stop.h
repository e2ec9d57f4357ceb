// A stop token that stops as soon as either of two does.
#pragma once

#include <functional>
#include <stop_token>

namespace kube {

class EitherStop {
 public:
  EitherStop(const std::stop_token& a, const std::stop_token& b)
      : on_a_(a, [this] { source_.request_stop(); }),
        on_b_(b, [this] { source_.request_stop(); }) {}
  EitherStop(const EitherStop&) = delete;
  EitherStop& operator=(const EitherStop&) = delete;
  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::stop_callback<std::function<void()>> on_a_;
  std::stop_callback<std::function<void()>> on_b_;
};

}  // namespace kube
