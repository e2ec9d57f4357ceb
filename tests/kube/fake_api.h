// An API server as a list of answers: each request takes the next one of its kind (list, watch or
// other), so that a test reads as the conversation it is. Over plain TCP on loopback.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <kube/client.h>

#include "kube/scripted_server.h"

namespace fake_api {

using kube::Json;
using namespace std::chrono_literals;

enum class Ending { kClean, kCut, kHang };

struct Answer {
  std::string status = "200 OK";
  std::string body = {};           // of a watch: what is streamed, in one chunk
  Ending ending = Ending::kClean;  // of a watch
  std::string headers = {};        // each with its line break
};

class Api {
 public:
  Api() {
    const auto self = std::make_shared<std::atomic<Api*>>(this);
    server_ = std::make_unique<scripted::Server>(
        scripted::Options{}, [self](scripted::Peer& peer, int) { (*self).load()->serve(peer); });
  }

  // `kind`: "list", "watch", or a method for anything else; or one of them and a path, "list
  // /path", whose answers come first. Without an answer a watch hangs and anything else is a 500.
  void answer(const std::string& kind, Answer answer) {
    const std::scoped_lock lock(mutex_);
    answers_[kind].push_back(std::move(answer));
  }

  [[nodiscard]] std::shared_ptr<kube::Client> client(
      std::chrono::milliseconds deadline = 20s) const {
    kube::Config config;
    config.server = server_->url();
    return kube::Client::connect(std::move(config), kube::Client::TransportKind::kBeast, deadline);
  }

  // "list /path?query", "watch ...", "POST ..." in order of arrival.
  [[nodiscard]] std::vector<std::string> asked() { return server_->notes(); }
  [[nodiscard]] bool wait_for_requests(std::size_t count) { return server_->wait_for_notes(count); }
  // The whole texts of the requests.
  [[nodiscard]] std::vector<std::string> texts() {
    const std::scoped_lock lock(mutex_);
    return texts_;
  }
  [[nodiscard]] scripted::Server& server() { return *server_; }

 private:
  void serve(scripted::Peer& peer) {
    for (std::string text; !(text = peer.read_request()).empty();) {
      const std::string method = text.substr(0, text.find(' '));
      const std::string target =
          text.substr(method.size() + 1, text.find(' ', method.size() + 1) - method.size() - 1);
      const bool watches = target.find("watch=true") != std::string::npos;
      const std::string kind = method != "GET" ? method : watches ? "watch" : "list";
      Answer answer;
      bool scripted = false;
      {
        const std::scoped_lock lock(mutex_);
        auto& here = answers_[kind + " " + target.substr(0, target.find('?'))];
        auto& queue = here.empty() ? answers_[kind] : here;
        if ((scripted = !queue.empty())) {
          answer = std::move(queue.front());
          queue.pop_front();
        }
        texts_.push_back(text);
      }
      server_->note(kind + " " + target);
      if (!watches) {
        if (!scripted) answer.status = "500 Not Scripted";
        if (answer.ending == Ending::kHang) return peer.wait_for_close();
        if (answer.ending == Ending::kCut) return peer.cut();
        if (!peer.respond(answer.body, answer.status, answer.headers)) return;
        continue;
      }
      if (answer.status != "200 OK") {
        if (!peer.respond(answer.body, answer.status, answer.headers)) return;
        continue;
      }
      std::string stream = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
      if (!answer.body.empty()) {
        char size[20] = {};
        const auto [end, ec] =
            std::to_chars(std::begin(size), std::end(size), answer.body.size(), 16);
        stream += std::string(size, end) + "\r\n" + answer.body + "\r\n";
      }
      if (scripted && answer.ending == Ending::kClean) stream += "0\r\n\r\n";
      if (!peer.write(stream)) return;
      if (!scripted || answer.ending == Ending::kHang) return peer.wait_for_close();
      if (answer.ending == Ending::kCut) return peer.cut();
    }
  }

  std::mutex mutex_;
  std::map<std::string, std::deque<Answer>> answers_;
  std::vector<std::string> texts_;
  std::unique_ptr<scripted::Server> server_;  // last: its threads use the rest
};

inline Json object(const std::string& name, int version, const std::string& uid = "") {
  return {{"metadata",
           {{"name", name},
            {"namespace", "n"},
            {"uid", uid.empty() ? "uid-" + name : uid},
            {"resourceVersion", std::to_string(version)}}}};
}

inline std::string list(int version, const std::vector<Json>& items, const std::string& next = "") {
  Json metadata{{"resourceVersion", std::to_string(version)}};
  if (!next.empty()) metadata["continue"] = next;
  return Json{{"kind", "List"}, {"metadata", metadata}, {"items", items}}.dump();
}

inline std::string event(const std::string& type, const Json& object) {
  return Json{{"type", type}, {"object", object}}.dump() + "\n";
}

inline std::string bookmark(int version) {
  return event("BOOKMARK", {{"metadata", {{"resourceVersion", std::to_string(version)}}}});
}

inline Json status(int code, const std::string& reason, const std::string& message = "m") {
  return {{"kind", "Status"}, {"code", code}, {"reason", reason}, {"message", message}};
}

}  // namespace fake_api
