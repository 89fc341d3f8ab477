"""An answer and a stream with the standard library alone."""

import json
import os
import sys
import urllib.error
import urllib.request

URL = os.environ.get("URL", "http://127.0.0.1:8006")
KEY = os.environ["KEY"]


def post(path, body):
    """Opens the answer to a request; it is the caller's to close."""
    request = urllib.request.Request(
        URL + path,
        data=json.dumps(body).encode(),
        headers={"Authorization": "Bearer " + KEY, "Content-Type": "application/json"},
    )
    try:
        return urllib.request.urlopen(request)
    except urllib.error.HTTPError as refused:
        # Every refusal says why; some say after how many seconds to try again.
        error = json.load(refused)["error"]
        sys.exit(f"{refused.code} {error['code']}: {error['message']} (Retry-After: {refused.headers['Retry-After']})")


# An answer.
body = {"model": "haiku", "messages": [{"role": "user", "content": "Name three rivers."}]}
with post("/v1/chat/completions", body) as answer:
    print(json.load(answer)["choices"][0]["message"]["content"])

# The same as it is generated: lines of server-sent events, with a chunk in each.
body = {"model": "haiku", "stream": True, "messages": [{"role": "user", "content": "Name a lake."}]}
with post("/v1/chat/completions", body) as stream:
    for line in stream:
        data = line.decode().removeprefix("data: ").strip()
        if not line.startswith(b"data: ") or data == "[DONE]":
            continue
        chunk = json.loads(data)
        if "error" in chunk:  # a stream that has begun can still fail
            sys.exit(chunk["error"]["message"])
        for choice in chunk["choices"]:
            print(choice["delta"].get("content") or "", end="", flush=True)
print()
