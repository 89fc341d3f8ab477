// What the checks of every client share: where the service is, words that nobody
// used before, what reached the upstream, and running them.
//
// A check is a function that throws where the client doesn't get what it
// should. Each prints one JSON line: client, feature, backend, and error where
// it failed. clients_test.go in internal/clienttest reads them.
import assert from 'node:assert/strict';
import net from 'node:net';

/** The service under test and its key, and the test's own server, which sees the upstream. */
export const { url, key, control } = JSON.parse(process.env.STAND);

/** The name of the model on the clients of the Anthropic family, and its alias on the others. */
export const model = 'claude-haiku-5-5';
export const alias = 'haiku';

/** Longest time that one check may take, in milliseconds. */
const limit = 60_000;

/** How many checks of one client run at once: the service has three workers. */
const width = 3;

/** Hosts beyond this machine that a client tried to reach, with its telemetry for example. */
const strangers = new Set();

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function loopbackOnly(...args) {
  const [first, second] = Array.isArray(args[0]) ? args[0] : args; // net.connect hands an array on
  const host = typeof first === 'object' ? first.host : second;
  if (host !== '127.0.0.1') {
    strangers.add(String(host));
    throw new Error(`${host} isn't to be reached from here`);
  }
  return connect.apply(this, args);
};

let words = 0;

/** A text that nobody used before, long enough to come in several deltas. */
export function word(text = 'the quick brown fox') {
  words += 1;
  return `${text} ${process.pid}-${words}-${Math.random().toString(36).slice(2, 8)}`;
}

/** What the simulator answers to a prompt, and how many tokens it counts for a text. */
export const echo = (prompt) => `Echo: ${prompt}`;
export const tokens = (text) => Math.ceil(Buffer.byteLength(text) / 4);

/** A picture of one pixel, and a document of one empty page. */
export const pixel =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
export const page = Buffer.from('%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n').toString('base64');
/** The text of a document. */
export const fact = 'The grass is green. The sky is blue.';
/** A prompt with which the simulator searches the web. */
export const search = (text) => `${text} [[tool=web_search input={"query":"cats"}]]`;
/** An address that nobody fetches: it goes to the upstream as it is. */
export const picture = 'https://pictures.example.com/cat.png';

/** The tool of the checks, as a JSON schema. */
export const weather = {
  name: 'weather',
  description: 'The weather in a city.',
  schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false },
};
/** Prompts with which the simulator calls that tool: once, twice, with a long input. */
export const calls = (...cities) => cities.map((city) => `[[tool=weather input=${JSON.stringify({ city })}]]`).join(' ');
export const longCity = 'Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch in Wales';

/** A prompt whose answer stops in the middle until the caller leaves. */
export const endless = (text) => `${text} [[tokens=50 hang-after=3]]`;

async function ask(path) {
  const response = await fetch(control + path, { method: 'POST' });
  const body = await response.text();
  assert.equal(response.status, 200, `${path}: ${body}`);
  return JSON.parse(body);
}

/** The requests with this text that reached the upstream: their body, header and path. */
export const upstream = (text) => ask(`/upstream?text=${encodeURIComponent(text)}`);

/** The body of the last request with this text that reached the upstream. */
export async function body(text) {
  const found = await upstream(text);
  assert.ok(found.length > 0, `nothing with ${text} reached the upstream`);
  return found.at(-1).body;
}

/** Checks which backend sent the request with this text: Claude Code names itself to the upstream. */
export async function servedBy(backend, text) {
  const found = await upstream(text);
  assert.ok(found.length > 0, `nothing with ${text} reached the upstream`);
  for (const { header } of found) {
    const agent = header['User-Agent'][0];
    assert.equal(agent.startsWith('claude-cli/') ? 'cli' : 'direct', backend, agent);
  }
}

/** Waits until the upstream's answer to the request with this text was broken off by its caller. */
export const left = (text) => ask(`/left?text=${encodeURIComponent(text)}`);

/** A key whose requests are used up but for one more every three seconds. */
export const spentKey = async () => (await ask('/spent')).key;

/** Checks that the texts stand in the upstream's body in this order. */
export function inOrder(sent, ...texts) {
  const all = JSON.stringify(sent);
  let at = -1;
  for (const text of texts) {
    const next = all.indexOf(text, at + 1);
    assert.ok(next > at, `${text} isn't behind the one before in ${all}`);
    at = next;
  }
}

/** Checks that the block with a picture, or a document, reached the upstream as base64. */
export function hasBase64(sent, type, mediaType, data) {
  const blocks = sent.messages.flatMap((m) => (Array.isArray(m.content) ? m.content : []));
  const found = blocks.find((b) => b.type === type);
  assert.ok(found, `no ${type} in ${JSON.stringify(sent).slice(0, 2000)}`);
  assert.equal(found.source.type, 'base64');
  assert.equal(found.source.media_type, mediaType);
  assert.equal(found.source.data, data);
}

/** Checks that the picture's address reached the upstream. */
export function hasURL(sent, address) {
  const blocks = sent.messages.flatMap((m) => (Array.isArray(m.content) ? m.content : []));
  const found = blocks.find((b) => b.type === 'image');
  assert.deepEqual(found?.source, { type: 'url', url: address });
}

/** Checks that thinking was on at the upstream. */
export function thinks(sent) {
  assert.ok(['adaptive', 'enabled'].includes(sent.thinking?.type), `thinking: ${JSON.stringify(sent.thinking)}`);
}

/** The error that a promise fails with. */
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert.fail('no error');
}

/** Checks several deltas that make the whole text. */
export function deltas(list, whole) {
  assert.equal(list.join(''), whole);
  assert.ok(list.filter((d) => d !== '').length > 1, `${list.length} deltas`);
}

function bounded(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${limit / 1000} s`)), limit);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The error with the lines of the check itself, without those of the client. */
function describe(error) {
  const lines = String(error?.stack ?? error).split('\n').filter((line) => !/node_modules|node:internal|check\.mjs/.test(line));
  if (error?.cause) lines.push(`cause: ${error.cause}`);
  return lines.join('\n').slice(0, 2000);
}

/**
 * Runs the checks of one client on both backends and ends the process.
 * @param {string} client as the page names it
 * @param {(backend: string) => Record<string, () => Promise<void>>} checks by feature
 */
export async function run(client, checks) {
  const queue = [];
  for (const backend of ['cli', 'direct']) {
    for (const [feature, check] of Object.entries(checks(backend))) {
      queue.push(async () => {
        const line = { client, feature, backend };
        try {
          await bounded(check());
        } catch (error) {
          line.error = describe(error);
        }
        process.stdout.write(JSON.stringify(line) + '\n');
      });
    }
  }
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) await next();
  };
  await Promise.all(Array.from({ length: width }, worker));
  for (const host of strangers) console.error(`${client} tried to reach ${host}`);
  // What a client keeps open must not keep the process.
  process.exit(strangers.size > 0 ? 1 : 0);
}
