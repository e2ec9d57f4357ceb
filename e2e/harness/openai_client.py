"""What the official `openai` client makes of the gateway: a program that runs where the client is, such as in the agent's container."""

from __future__ import annotations

PROGRAM = r'''
import json
import openai

client = openai.OpenAI(base_url=BASE, api_key="none", max_retries=0, timeout=60)
said = [{"role": "user", "content": CONTENT}]
out = {}


def tried(name, attempt):
    try:
        out[name] = attempt()
    except openai.APIStatusError as error:
        out[name] = {"raised": type(error).__name__, "status": error.status_code, "code": error.code, "message": str(error)}
    except openai.APIError as error:
        out[name] = {"raised": type(error).__name__, "code": error.code, "message": f"{error} ({error.__cause__!r})"}


def whole():
    reply = client.chat.completions.create(model=MODEL, messages=said, max_tokens=50)
    return {"text": reply.choices[0].message.content, "tokens": reply.usage.total_tokens}


def streamed(**more):
    text, usage, chunks = "", None, 0
    for chunk in client.chat.completions.create(model=MODEL, messages=said, stream=True, **more):
        chunks += 1
        usage = chunk.usage.total_tokens if chunk.usage else usage
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    return {"text": text, "tokens": usage, "chunks": chunks}


tried("models", lambda: [model.id for model in client.models.list()])
tried("whole", whole)
tried("streamed", streamed)
tried("streamed with usage", lambda: streamed(stream_options={"include_usage": True}))
tried("no such model", lambda: client.chat.completions.create(model="gpt-nothing", messages=said))
tried("another's model", lambda: client.chat.completions.create(model=OTHER, messages=said))
tried("a wrong type", lambda: client.chat.completions.create(model=MODEL, messages=said, max_tokens="many"))
tried("what the model has not", lambda: client.embeddings.create(model=MODEL, input="x").model)
print(json.dumps(out))
'''


def program(base: str, model: str, other: str, content: str) -> str:
    given = {"BASE": base, "MODEL": model, "OTHER": other, "CONTENT": content}
    return "".join(f"{name} = {value!r}\n" for name, value in given.items()) + PROGRAM
