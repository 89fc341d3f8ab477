"""An answer and a stream with OpenAI's package: pip install openai."""

import os

from openai import OpenAI

client = OpenAI(base_url=os.environ.get("URL", "http://127.0.0.1:8006") + "/v1", api_key=os.environ["KEY"])

# An answer.
answer = client.chat.completions.create(
    model="haiku",
    messages=[{"role": "user", "content": "Name three rivers."}],
)
print(answer.choices[0].message.content)

# The same as it is generated.
stream = client.chat.completions.create(
    model="haiku",
    messages=[{"role": "user", "content": "Name a lake."}],
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()

# What is this service's own goes into extra_body: here, that the direct path answers.
answer = client.chat.completions.create(
    model="haiku",
    messages=[{"role": "user", "content": "Name a mountain."}],
    extra_body={"use_cli": False},
)
print(answer.choices[0].message.content)
