// What a loop knows of one connection, and its lists of them. Included by the loop's sources only.
#pragma once

#include "http_loop.h"

namespace kube {

struct HttpLoop::Link {
  Link* previous = this;
  Link* next = this;
};

struct HttpLoop::Connection : HttpLoop::Link {
  enum class Phase : std::uint8_t {
    kHandshake,
    kIdle,      // between requests
    kReading,   // a request has begun
    kHandling,  // its handler waits somewhere else
    kWriting,   // the peer does not take what it asked for
    kGoodbye,   // all is said; the peer closes
    kLinger,    // the same after a refusal: closing over unread data would take the answer away
    kClosed,
  };

  Descriptor socket;
  std::uint64_t id = 0;
  Phase phase = Phase::kHandshake;
  Phase after_writing = Phase::kIdle;  // kIdle, kGoodbye or kLinger
  bool proven = false;                 // it has brought a whole request
  bool keep = false;                   // of the request that is handled
  bool peer_ended = false;
  bool has_more = false;  // it is in HttpLoop::more_
  bool queued = false;    // it is in HttpLoop::queued_
  bool shaking = false;   // counted in HttpLoop::shaking_
  std::uint32_t watched = 0;
  HttpClock::time_point since;     // when it became idle or slow
  HttpClock::time_point deadline;  // of the phase
  HttpClock::time_point arrival;   // of what was read last
  HttpClock::time_point begun;     // of the request: its arrival
  std::size_t linger_left = 0;
  std::unique_ptr<TlsSession> tls;
  // All empty while the connection is idle.
  std::unique_ptr<RequestReader> reader;
  BodyShare share;
  std::string kept;  // read, decrypted, not yet understood
  std::string out;   // to be written from `written` on
  std::size_t written = 0;
};

// In the order in which they came; the front is the oldest.
class HttpLoop::List {
 public:
  List() = default;
  List(const List&) = delete;
  List& operator=(const List&) = delete;

  [[nodiscard]] bool empty() const { return end_.next == &end_; }
  [[nodiscard]] Connection& front() const { return *static_cast<Connection*>(end_.next); }
  void push_back(Link& link) { insert(link, *end_.previous); }
  void push_front(Link& link) { insert(link, end_); }
  static void remove(Link& link) {
    link.previous->next = link.next;
    link.next->previous = link.previous;
    link.previous = link.next = &link;
  }
  // `visit` changes no list.
  template <class Visit>
  void each(Visit visit) const {
    for (Link* link = end_.next; link != &end_; link = link->next)
      visit(*static_cast<Connection*>(link));
  }

 private:
  static void insert(Link& link, Link& before) {
    link.previous = &before;
    link.next = before.next;
    before.next->previous = &link;
    before.next = &link;
  }
  Link end_;
};

}  // namespace kube
