// An answer and a stream with OpenAI's package: npm install openai.
import OpenAI from "openai";

const URL = process.env.URL ?? "http://127.0.0.1:8006";
const client = new OpenAI({ baseURL: `${URL}/v1`, apiKey: process.env.KEY });

// An answer.
const answer = await client.chat.completions.create({
  model: "haiku",
  messages: [{ role: "user", content: "Name three rivers." }],
});
console.log(answer.choices[0].message.content);

// The same as it is generated.
const stream = await client.chat.completions.create({
  model: "haiku",
  messages: [{ role: "user", content: "Name a lake." }],
  stream: true,
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
process.stdout.write("\n");
