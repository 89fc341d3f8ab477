// The official Anthropic client: Messages, token counting and Models.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { z } from 'zod';
import * as c from './check.mjs';

const tool = { name: c.weather.name, description: c.weather.description, input_schema: c.weather.schema };
const City = z.object({ city: z.string(), population: z.number().int() });
const user = (content) => ({ role: 'user', content });
/** All that the model read: Claude Code marks its prompt for the cache, so that input_tokens may be 0. */
const read = (u) => u.input_tokens + u.cache_creation_input_tokens + u.cache_read_input_tokens;
const textOf = (message) => message.content.filter((b) => b.type === 'text').map((b) => b.text).join('');

await c.run('anthropic', (backend) => {
  const options = { baseURL: c.url, apiKey: c.key, maxRetries: 0, defaultHeaders: { 'X-Claude-Backend': backend } };
  const client = new Anthropic(options);
  const body = (content, more = {}) => ({ model: c.model, max_tokens: 1000, messages: [user(content)], ...more });
  const ask = (content, more) => client.messages.create(body(content, more));

  return {
    async plain() {
      const prompt = c.word();
      const got = await ask(prompt);
      assert.match(got.id, /^msg_/);
      assert.equal(got.type, 'message');
      assert.equal(got.role, 'assistant');
      assert.equal(got.model, c.model);
      assert.equal(got.stop_reason, 'end_turn');
      assert.equal(textOf(got), c.echo(prompt));
      assert.match(got._request_id, /^req_/);
      await c.servedBy(backend, prompt);
      // As programs send the key that read ANTHROPIC_AUTH_TOKEN.
      const bearer = new Anthropic({ ...options, apiKey: null, authToken: c.key });
      const again = c.word();
      assert.equal(textOf(await bearer.messages.create(body(again))), c.echo(again));
    },
    async stream() {
      const prompt = c.word();
      const list = [];
      const types = [];
      for await (const event of await ask(prompt, { stream: true })) {
        if (types.at(-1) !== event.type && event.type !== 'ping') types.push(event.type);
        if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') list.push(event.delta.text);
      }
      c.deltas(list, c.echo(prompt));
      assert.deepEqual(types, [
        'message_start',
        'content_block_start',
        'content_block_delta',
        'content_block_stop',
        'message_delta',
        'message_stop',
      ]);
      const again = c.word();
      const message = await client.messages.stream(body(again)).finalMessage();
      assert.equal(textOf(message), c.echo(again));
      assert.equal(message.stop_reason, 'end_turn');
    },
    async history() {
      const [system, one, two, prompt] = [c.word('rules'), c.word('one'), c.word('two'), c.word('three')];
      const got = await client.messages.create({
        ...body(prompt),
        system: [{ type: 'text', text: system }],
        messages: [user(one), { role: 'assistant', content: two }, user([{ type: 'text', text: prompt }])],
      });
      assert.equal(textOf(got), c.echo(prompt));
      const sent = await c.body(prompt);
      assert.ok(JSON.stringify(sent.system).includes(system));
      c.inOrder(sent.messages, one, two, prompt);
    },
    async tools() {
      const prompt = `${c.word()} ${c.calls('Paris')}`;
      const result = c.word('21 degrees');
      const first = await ask(prompt, { tools: [tool] });
      assert.equal(first.stop_reason, 'tool_use');
      const used = first.content.filter((b) => b.type === 'tool_use');
      assert.equal(used.length, 1);
      assert.equal(used[0].name, 'weather');
      assert.deepEqual(used[0].input, { city: 'Paris' });
      const second = await client.messages.create({
        ...body(prompt, { tools: [tool] }),
        messages: [
          user(prompt),
          { role: 'assistant', content: first.content },
          user([{ type: 'tool_result', tool_use_id: used[0].id, content: result }]),
        ],
      });
      assert.equal(textOf(second), `Tool result: ${result}`);
      assert.equal(second.stop_reason, 'end_turn');
    },
    async 'tool loop'() {
      const result = c.word('sunny');
      const final = await client.beta.messages.toolRunner({
        ...body(`${c.word()} ${c.calls('Paris')}`),
        tools: [
          betaZodTool({ name: 'weather', description: 'The weather in a city.', inputSchema: z.object({ city: z.string() }), run: ({ city }) => `${city} ${result}` }),
        ],
      });
      assert.equal(textOf(final), `Tool result: Paris ${result}`);
    },
    async 'parallel tools'() {
      const prompt = `${c.word()} ${c.calls('Paris', 'Rome')}`;
      const [one, two] = [c.word('21 degrees'), c.word('30 degrees')];
      const first = await ask(prompt, { tools: [tool] });
      const used = first.content.filter((b) => b.type === 'tool_use');
      assert.deepEqual(used.map((b) => b.input.city), ['Paris', 'Rome']);
      const second = await client.messages.create({
        ...body(prompt, { tools: [tool] }),
        messages: [
          user(prompt),
          { role: 'assistant', content: first.content },
          user([
            { type: 'tool_result', tool_use_id: used[0].id, content: [{ type: 'text', text: one }] },
            { type: 'tool_result', tool_use_id: used[1].id, content: two },
          ]),
        ],
      });
      assert.equal(textOf(second), `Tool result: ${one}; ${two}`);
    },
    async 'tool stream'() {
      const parts = [];
      const stream = client.messages.stream(body(`${c.word()} ${c.calls(c.longCity)}`, { tools: [tool] }));
      stream.on('inputJson', (part) => parts.push(part));
      const message = await stream.finalMessage();
      const used = message.content.find((b) => b.type === 'tool_use');
      assert.equal(used.name, 'weather');
      assert.deepEqual(used.input, { city: c.longCity });
      assert.equal(message.stop_reason, 'tool_use');
      const filled = parts.filter((part) => part !== '');
      assert.ok(filled.length > 1, `${filled.length} parts`);
      assert.deepEqual(JSON.parse(filled.join('')), { city: c.longCity });
    },
    async 'tool choice'() {
      for (const tool_choice of [{ type: 'any' }, { type: 'tool', name: 'weather' }]) {
        const got = await ask(c.word(), { tools: [tool], tool_choice });
        assert.equal(got.content.find((b) => b.type === 'tool_use')?.name, 'weather');
      }
      const prompt = c.word();
      assert.equal(textOf(await ask(prompt, { tools: [tool], tool_choice: { type: 'none' } })), c.echo(prompt));
    },
    async 'structured output'() {
      const got = await client.messages.parse(body(c.word(), { output_config: { format: zodOutputFormat(City) } }));
      assert.deepEqual(got.parsed_output, { city: 'a city', population: 1 });
      const stream = client.messages.stream(body(c.word(), { output_config: { format: zodOutputFormat(City) } }));
      assert.deepEqual((await stream.finalMessage()).parsed_output, { city: 'a city', population: 1 });
    },
    async image() {
      const prompt = c.word();
      const source = { type: 'base64', media_type: 'image/png', data: c.pixel };
      const got = await ask([{ type: 'image', source }, { type: 'text', text: prompt }]);
      assert.equal(textOf(got), c.echo(prompt));
      c.hasBase64(await c.body(prompt), 'image', 'image/png', c.pixel);
    },
    async 'image by URL'() {
      const prompt = c.word();
      const got = await ask([{ type: 'image', source: { type: 'url', url: c.picture } }, { type: 'text', text: prompt }]);
      assert.equal(textOf(got), c.echo(prompt));
      c.hasURL(await c.body(prompt), c.picture);
    },
    async document() {
      const prompt = c.word();
      const source = { type: 'base64', media_type: 'application/pdf', data: c.page };
      const got = await ask([{ type: 'document', source }, { type: 'text', text: prompt }]);
      assert.equal(textOf(got), c.echo(prompt));
      c.hasBase64(await c.body(prompt), 'document', 'application/pdf', c.page);
    },
    async citations() {
      const source = { type: 'text', media_type: 'text/plain', data: c.fact };
      const content = (prompt) => [{ type: 'document', source, title: 'Facts', citations: { enabled: true } }, { type: 'text', text: prompt }];
      const got = await ask(content(c.word()));
      const cited = got.content.find((b) => b.type === 'text').citations[0];
      assert.equal(cited.document_title, 'Facts');
      assert.ok(c.fact.startsWith(cited.cited_text));
      const streamed = await client.messages.stream(body(content(c.word()))).finalMessage();
      assert.deepEqual(streamed.content.find((b) => b.type === 'text').citations[0], cited);
    },
    async 'web search'() {
      const tools = [{ type: 'web_search_20250305', name: 'web_search' }];
      if (backend === 'cli') {
        const error = await c.failure(ask(c.search(c.word()), { tools }));
        assert.ok(error instanceof Anthropic.BadRequestError, String(error));
        assert.match(error.message, /runs at the API/);
        return;
      }
      const got = await ask(c.search(c.word()), { tools });
      assert.deepEqual(got.content.map((b) => b.type), ['server_tool_use', 'web_search_tool_result', 'text']);
      assert.equal(got.usage.server_tool_use.web_search_requests, 1);
      const streamed = await client.messages.stream(body(c.search(c.word()), { tools })).finalMessage();
      assert.deepEqual(streamed.content.map((b) => b.type), got.content.map((b) => b.type));
    },
    async thinking() {
      const thinking = { type: 'adaptive', display: 'summarized' };
      const prompt = c.word();
      const got = await ask(prompt, { thinking, max_tokens: 4000 });
      assert.equal(got.content[0].type, 'thinking');
      assert.ok(got.content[0].thinking.length > 0 && got.content[0].signature.length > 0, JSON.stringify(got.content[0]));
      assert.equal(textOf(got), c.echo(prompt));
      c.thinks(await c.body(prompt));
      const parts = [];
      const again = c.word();
      const stream = client.messages.stream(body(again, { thinking, max_tokens: 4000 }));
      stream.on('thinking', (part) => parts.push(part));
      const message = await stream.finalMessage();
      c.deltas(parts, message.content[0].thinking);
      assert.equal(textOf(message), c.echo(again));
      // The block goes back in the next turn as it came.
      const next = c.word();
      const further = await client.messages.create({
        ...body(next, { thinking, max_tokens: 4000 }),
        messages: [user(again), { role: 'assistant', content: message.content }, user(next)],
      });
      assert.equal(textOf(further), c.echo(next));
    },
    async caching() {
      const system = [{ type: 'text', text: `${c.word('rules')} `.repeat(200), cache_control: { type: 'ephemeral' } }];
      const first = await ask(c.word(), { system });
      const second = await ask(c.word(), { system });
      assert.ok(first.usage.cache_creation_input_tokens > 0, JSON.stringify(first.usage));
      assert.ok(second.usage.cache_read_input_tokens > 0, JSON.stringify(second.usage));
    },
    async usage() {
      const prompt = c.word();
      const got = await ask(prompt);
      assert.equal(got.usage.output_tokens, c.tokens(c.echo(prompt)));
      assert.ok(read(got.usage) > 0, JSON.stringify(got.usage));
      const again = c.word();
      const message = await client.messages.stream(body(again)).finalMessage();
      assert.equal(message.usage.output_tokens, c.tokens(c.echo(again)));
      assert.ok(read(message.usage) > 0, JSON.stringify(message.usage));
    },
    async 'bad key'() {
      const error = await c.failure(new Anthropic({ ...options, apiKey: 'cc_wrong' }).messages.create(body('x')));
      assert.ok(error instanceof Anthropic.AuthenticationError, String(error));
      assert.equal(error.status, 401);
      assert.equal(error.error.error.type, 'authentication_error');
    },
    async 'unknown model'() {
      const error = await c.failure(ask('x', { model: 'gpt-9' }));
      assert.ok(error instanceof Anthropic.NotFoundError, String(error));
      assert.equal(error.error.error.type, 'not_found_error');
      assert.match(error.requestID, /^req_/);
    },
    async 'invalid request'() {
      const error = await c.failure(ask('x', { max_tokens: 0 }));
      assert.ok(error instanceof Anthropic.BadRequestError, String(error));
      assert.equal(error.error.error.type, 'invalid_request_error');
    },
    async 'rate limit'() {
      const apiKey = await c.spentKey();
      const prompt = c.word();
      const error = await c.failure(new Anthropic({ ...options, apiKey }).messages.create(body(prompt)));
      assert.ok(error instanceof Anthropic.RateLimitError, String(error));
      const wait = Number(error.headers.get('retry-after'));
      assert.ok(wait >= 1 && wait <= 3, `Retry-After ${wait}`);
      assert.equal(error.headers.get('anthropic-ratelimit-requests-remaining'), '0');
      // Only a client that waits as long as it is told gets through with one more try.
      const got = await new Anthropic({ ...options, apiKey, maxRetries: 1 }).messages.create(body(prompt));
      assert.equal(textOf(got), c.echo(prompt));
    },
    async 'upstream error'() {
      const error = await c.failure(ask(`${c.word()} [[error=500]]`));
      assert.ok(error instanceof Anthropic.InternalServerError, String(error));
      assert.equal(error.error.error.type, 'api_error');
    },
    async 'error in a stream'() {
      const stream = client.messages.stream(body(`${c.word()} [[tokens=20 error-after=3]]`));
      const error = await c.failure(stream.finalMessage());
      assert.ok(error instanceof Anthropic.APIError, String(error));
    },
    async cancel() {
      const prompt = c.word();
      const stream = client.messages.stream(body(c.endless(prompt)));
      stream.on('text', () => stream.abort());
      const error = await c.failure(stream.finalMessage());
      assert.ok(error instanceof Anthropic.APIUserAbortError, String(error));
      await c.left(prompt);
    },
    async models() {
      const ids = [];
      for await (const one of client.models.list({ limit: 4 })) ids.push(one.id);
      for (const id of ['haiku', 'sonnet', 'opus', c.model]) assert.ok(ids.includes(id), `no ${id} in ${ids}`);
      assert.equal(new Set(ids).size, ids.length);
      assert.equal((await client.models.retrieve(c.model)).type, 'model');
    },
    async 'count tokens'() {
      const prompt = c.word();
      const { max_tokens: _, ...counted } = body(prompt, { system: 'Be brief.', tools: [tool] });
      const got = await client.messages.countTokens(counted);
      assert.ok(got.input_tokens > c.tokens(prompt), JSON.stringify(got));
    },
  };
});
