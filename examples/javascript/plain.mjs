// An answer and a stream with fetch alone, in Node.js or a browser.
const URL = process.env.URL ?? "http://127.0.0.1:8006";
const KEY = process.env.KEY;

async function post(path, body) {
  const answer = await fetch(URL + path, {
    method: "POST",
    headers: { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (answer.ok) return answer;
  // Every refusal says why; some say after how many seconds to try again.
  const { error } = await answer.json();
  throw new Error(`${answer.status} ${error.code}: ${error.message} (Retry-After: ${answer.headers.get("retry-after")})`);
}

// An answer.
const answer = await post("/v1/chat/completions", {
  model: "haiku",
  messages: [{ role: "user", content: "Name three rivers." }],
});
console.log((await answer.json()).choices[0].message.content);

// The same as it is generated: lines of server-sent events, with a chunk in each.
const stream = await post("/v1/chat/completions", {
  model: "haiku",
  stream: true,
  messages: [{ role: "user", content: "Name a lake." }],
});
let rest = "";
for await (const text of stream.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + text).split("\n");
  rest = lines.pop(); // a line whose end hasn't come yet
  for (const line of lines) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
    const chunk = JSON.parse(line.slice("data: ".length));
    if (chunk.error) throw new Error(chunk.error.message); // a stream that has begun can still fail
    for (const choice of chunk.choices) process.stdout.write(choice.delta.content ?? "");
  }
}
process.stdout.write("\n");
