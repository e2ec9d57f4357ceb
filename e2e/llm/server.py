"""An OpenAI-compatible server that answers by a script: the stand-in for a model's API, and for a gateway of somebody else's. Standard library only.

The script is JSON: {"rules": [{"contains": TEXT, "reply": TEXT}, ...], "default": TEXT, "keys": {PREFIX: KEY, ...}}. The first rule whose text is in the
last user message gives the reply. What is below a PREFIX is answered only with `Authorization: Bearer KEY`. GET /requests lists what was asked, and
GET /refusals how often it was without that key, for the stories to look at.
"""

from __future__ import annotations

import hmac
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
        self.keys: dict[str, str] = script["keys"]
        self.seen: list[dict[str, Any]] = []
        self.refusals: dict[str, int] = dict.fromkeys(self.keys, 0)
        self.lock = threading.Lock()

    def admits(self, path: str, authorization: str | None) -> bool:
        """Whether what was shown is the key of the prefix that the path lies below; without one nothing is admitted."""
        prefix = next((prefix for prefix in self.keys if path.startswith(prefix + "/")), None)
        if prefix is None:
            return False
        good = hmac.compare_digest((authorization or "").encode(), f"Bearer {self.keys[prefix]}".encode())
        if not good:
            with self.lock:
                self.refusals[prefix] += 1
        return good

    def answer(self, request: dict[str, Any], path: str = "") -> str:
        users = [m for m in request.get("messages", []) if m.get("role") == "user"]
        text = json.dumps(users[-1]["content"]) if users else ""
        everything = json.dumps(request.get("messages", []))
        with self.lock:
            self.seen.append({"path": path, "model": request.get("model"), "last": text[:4000], "stream": bool(request.get("stream"))})
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
        if self.path in ("/requests", "/refusals"):
            with self.script.lock:
                self.reply(200, self.script.seen if self.path == "/requests" else self.script.refusals)
        elif self.path.endswith("/models"):
            if not self.script.admits(self.path, self.headers.get("Authorization")):
                self.reply(401, {"error": {"message": "no such key", "type": "invalid_request_error", "code": "invalid_api_key"}})
                return
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
        body = self.rfile.read(length)
        if not self.script.admits(self.path, self.headers.get("Authorization")):
            self.reply(401, {"error": {"message": "no such key", "type": "invalid_request_error", "code": "invalid_api_key"}})
            return
        request = json.loads(body)
        if not self.path.endswith("/chat/completions"):
            self.reply(404, {"error": {"message": "no such path"}})
            return
        text = self.script.answer(request, self.path)
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
        if (request.get("stream_options") or {}).get("include_usage"):
            usage = {**base, "object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}}
            self.wfile.write(f"data: {json.dumps(usage)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *arguments: Any) -> None:
        print(f"{self.address_string()} {format % arguments}", flush=True)


if __name__ == "__main__":
    Handler.script = Script(sys.argv[1])
    http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[2])), Handler).serve_forever()
