"""An OpenAI-compatible server that answers by a script: the stand-in for a gateway that holds a key. Standard library only.

The script is JSON: {"rules": [{"contains": TEXT, "reply": TEXT}, ...], "default": TEXT}. The first rule whose text is in the last user message
gives the reply. GET /requests lists what was asked, for the stories to look at.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
import time
from typing import Any

MAX_BODY = 8 << 20


class Script:
    def __init__(self, path: str) -> None:
        with open(path, encoding="utf-8") as file:
            script = json.load(file)
        self.rules, self.default = script["rules"], script["default"]
        self.seen: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    def answer(self, request: dict[str, Any]) -> str:
        users = [m for m in request.get("messages", []) if m.get("role") == "user"]
        text = json.dumps(users[-1]["content"]) if users else ""
        everything = json.dumps(request.get("messages", []))
        with self.lock:
            self.seen.append({"model": request.get("model"), "last": text[:2000], "stream": bool(request.get("stream"))})
        for rule in self.rules:
            if rule["contains"] in (everything if rule.get("anywhere") else text):
                return rule["reply"]
        return self.default


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def reply(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path == "/requests":
            with self.script.lock:
                self.reply(200, self.script.seen)
        elif self.path.endswith("/models"):
            self.reply(200, {"object": "list", "data": [{"id": "gpt-4o", "object": "model"}]})
        elif self.path == "/healthz":
            self.reply(200, "ok")
        else:
            self.reply(404, {"error": {"message": "no such path"}})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        if length > MAX_BODY:
            self.close_connection = True
            self.reply(413, {"error": {"message": "too large"}})
            return
        request = json.loads(self.rfile.read(length))
        if not self.path.endswith("/chat/completions"):
            self.reply(404, {"error": {"message": "no such path"}})
            return
        text = self.script.answer(request)
        base = {"id": "chatcmpl-1", "created": int(time.time()), "model": request.get("model", "gpt-4o")}
        if not request.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
            self.reply(200, {**base, "object": "chat.completion", "choices": [choice], "usage": usage})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        pieces = [text[i : i + 40] for i in range(0, len(text), 40)]
        for delta, finish in [*(({"content": piece}, None) for piece in pieces), ({}, "stop")]:
            event = {**base, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *arguments: Any) -> None:
        print(f"{self.address_string()} {format % arguments}", flush=True)


if __name__ == "__main__":
    Handler.script = Script(sys.argv[1])
    http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[2])), Handler).serve_forever()
