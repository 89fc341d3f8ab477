// A WebSocket client at /v1/stream.
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import * as c from './check.mjs';

const address = `${c.url.replace('http', 'ws')}/v1/stream`;
const user = (content) => ({ role: 'user', content });

/** An open socket with its messages as a queue. */
class Socket {
  #messages = [];
  #waiting = [];
  #closed;

  constructor(backend, { key = c.key, protocols, headers = {} } = {}) {
    const auth = key && !protocols ? { Authorization: `Bearer ${key}` } : {};
    this.ws = new WebSocket(address, protocols, { headers: { 'X-Claude-Backend': backend, ...auth, ...headers } });
    this.ws.on('message', (data) => this.#give(JSON.parse(data.toString())));
    this.closed = new Promise((resolve) => {
      this.ws.on('close', (code) => {
        this.#closed = true;
        for (const { reject } of this.#waiting.splice(0)) reject(new Error(`closed with ${code}`));
        resolve(code);
      });
    });
    this.opened = new Promise((resolve, reject) => {
      this.ws.on('open', resolve);
      this.ws.on('error', reject);
      this.ws.on('unexpected-response', (_, response) => reject(new Error(`status ${response.statusCode}`)));
    });
  }

  static async open(backend, options) {
    const socket = new Socket(backend, options);
    await socket.opened;
    return socket;
  }

  #give(message) {
    const next = this.#waiting.shift();
    if (next) next.resolve(message);
    else this.#messages.push(message);
  }

  send(message) {
    this.ws.send(JSON.stringify(message));
  }

  next() {
    if (this.#messages.length > 0) return Promise.resolve(this.#messages.shift());
    if (this.#closed) return Promise.reject(new Error('closed'));
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** The messages up to the one of this type. */
  async until(type) {
    const list = [];
    for (;;) {
      const message = await this.next();
      list.push(message);
      if (message.type === type) return list;
      assert.ok(type === 'error' || message.type !== 'error', JSON.stringify(message));
    }
  }

  /** Chats and gives the deltas and the last message. */
  async chat(messages, more = {}) {
    this.send({ type: 'chat', model: c.alias, messages, ...more });
    const list = await this.until('done');
    return { tokens: list.filter((m) => m.type === 'token').map((m) => m.content), done: list.at(-1), list };
  }
}

await c.run('ws', (backend) => {
  const open = (options) => Socket.open(backend, options);
  const chats = async (socket) => {
    const prompt = c.word();
    const { tokens } = await socket.chat([user(prompt)]);
    c.deltas(tokens, c.echo(prompt));
    socket.ws.close();
    await socket.closed;
  };

  return {
    async chat() {
      const socket = await open();
      const prompt = c.word();
      const { tokens, done } = await socket.chat([user(prompt)], { id: 'mine' });
      c.deltas(tokens, c.echo(prompt));
      assert.equal(done.id, 'mine');
      assert.equal(done.model, c.model);
      assert.equal(done.usage.output_tokens, c.tokens(c.echo(prompt)));
      assert.ok(done.cost > 0);
      assert.equal(done.backend, backend);
      await c.servedBy(backend, prompt);
      socket.ws.close();
    },
    async conversation() {
      const socket = await open();
      const [system, one, two] = [c.word('rules'), c.word('one'), c.word('two')];
      await socket.chat([{ role: 'system', content: system }, user(one)]);
      const { tokens } = await socket.chat([
        { role: 'system', content: system },
        user(one),
        { role: 'assistant', content: c.echo(one) },
        user(two),
      ]);
      assert.equal(tokens.join(''), c.echo(two));
      c.inOrder((await c.body(two)).messages, one, c.echo(one), two);
      socket.ws.close();
    },
    async cancel() {
      const socket = await open();
      const prompt = c.word();
      socket.send({ type: 'chat', model: c.alias, messages: [user(c.endless(prompt))] });
      await socket.until('token');
      socket.send({ type: 'cancel' });
      const last = (await socket.until('error')).at(-1);
      assert.equal(last.error.code, 'cancelled');
      await c.left(prompt);
      await chats(socket); // the socket goes on
    },
    async close() {
      const socket = await open();
      const prompt = c.word();
      socket.send({ type: 'chat', model: c.alias, messages: [user(c.endless(prompt))] });
      await socket.until('token');
      socket.ws.close();
      await c.left(prompt);
    },
    async ping() {
      const socket = await open();
      const prompt = c.word();
      socket.send({ type: 'chat', model: c.alias, messages: [user(c.endless(prompt))] });
      await socket.until('token');
      socket.send({ type: 'ping', id: 'p1' });
      assert.equal((await socket.until('pong')).at(-1).id, 'p1');
      const pong = new Promise((resolve) => socket.ws.once('pong', resolve)); // the protocol's own
      socket.ws.ping();
      await pong;
      socket.ws.terminate();
      await c.left(prompt);
    },
    async 'key in a header'() {
      await chats(await open());
      await chats(await open({ key: '', headers: { 'x-api-key': c.key } }));
    },
    async 'key in the protocol'() {
      const socket = await open({ protocols: ['claude-api', `key.${c.key}`] });
      assert.equal(socket.ws.protocol, 'claude-api');
      await chats(socket);
    },
    async 'key in a message'() {
      const socket = await open({ key: '' });
      const prompt = c.word();
      const { tokens } = await socket.chat([user(prompt)], { api_key: c.key });
      assert.equal(tokens.join(''), c.echo(prompt));
      await chats(socket);
      const first = await open({ key: '' });
      first.send({ type: 'auth', api_key: c.key });
      await chats(first);
    },
    async 'bad key'() {
      const refused = await c.failure(open({ key: 'cc_wrong' }));
      assert.match(refused.message, /401/);
      const none = await open({ key: '' });
      none.send({ type: 'chat', model: c.alias, messages: [user('x')] });
      assert.equal((await none.until('error')).at(-1).error.type, 'auth_error');
      await none.closed;
    },
    async errors() {
      const socket = await open();
      socket.send({ type: 'chat', id: 'a', model: 'no-such-model', messages: [user('x')] });
      const unknown = (await socket.until('error')).at(-1);
      assert.equal(unknown.id, 'a');
      assert.equal(unknown.error.code, 'model_not_found');
      assert.equal(unknown.detail, unknown.error.message);
      socket.send({ type: 'chat', messages: 'none' });
      assert.equal((await socket.until('error')).at(-1).error.type, 'bad_request');
      socket.ws.send('{');
      await socket.until('error');
      await chats(socket);
    },
  };
});
