// The official OpenAI client: Chat Completions, Models and Responses.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import * as c from './check.mjs';

const tool = { type: 'function', function: { name: c.weather.name, description: c.weather.description, parameters: c.weather.schema } };
const flatTool = { type: 'function', name: c.weather.name, description: c.weather.description, parameters: c.weather.schema, strict: true };
const City = z.object({ city: z.string(), population: z.number().int() });
const user = (content) => ({ role: 'user', content });

await c.run('openai', (backend) => {
  const options = { baseURL: `${c.url}/v1`, apiKey: c.key, maxRetries: 0, defaultHeaders: { 'X-Claude-Backend': backend } };
  const client = new OpenAI(options);
  const chat = (prompt, more = {}) => client.chat.completions.create({ model: c.alias, messages: [user(prompt)], ...more });
  const respond = (input, more = {}) => client.responses.create({ model: c.alias, input, ...more });

  return {
    async plain() {
      const prompt = c.word();
      const got = await chat(prompt);
      assert.equal(got.object, 'chat.completion');
      assert.match(got.id, /^chatcmpl-/);
      assert.equal(got.model, c.model);
      assert.equal(got.choices.length, 1);
      assert.equal(got.choices[0].message.role, 'assistant');
      assert.equal(got.choices[0].message.content, c.echo(prompt));
      assert.equal(got.choices[0].finish_reason, 'stop');
      assert.match(got._request_id, /^req_/);
      await c.servedBy(backend, prompt);
    },
    async stream() {
      const prompt = c.word();
      const list = [];
      let reason;
      for await (const chunk of await chat(prompt, { stream: true })) {
        assert.equal(chunk.object, 'chat.completion.chunk');
        for (const choice of chunk.choices) {
          if (choice.delta.content) list.push(choice.delta.content);
          reason = choice.finish_reason ?? reason;
        }
      }
      c.deltas(list, c.echo(prompt));
      assert.equal(reason, 'stop');
      // The client's own accumulator.
      const again = c.word();
      const runner = client.chat.completions.stream({ model: c.alias, messages: [user(again)] });
      assert.equal(await runner.finalContent(), c.echo(again));
    },
    async history() {
      const [system, one, two, prompt] = [c.word('rules'), c.word('one'), c.word('two'), c.word('three')];
      const got = await client.chat.completions.create({
        model: c.alias,
        messages: [{ role: 'system', content: system }, user(one), { role: 'assistant', content: two }, user(prompt)],
      });
      assert.equal(got.choices[0].message.content, c.echo(prompt));
      const sent = await c.body(prompt);
      assert.ok(JSON.stringify(sent.system).includes(system));
      c.inOrder(sent.messages, one, two, prompt);
    },
    async tools() {
      const prompt = `${c.word()} ${c.calls('Paris')}`;
      const result = c.word('21 degrees');
      const first = await chat(prompt, { tools: [tool] });
      const { message, finish_reason } = first.choices[0];
      assert.equal(finish_reason, 'tool_calls');
      assert.equal(message.tool_calls.length, 1);
      assert.equal(message.tool_calls[0].function.name, 'weather');
      assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: 'Paris' });
      const second = await client.chat.completions.create({
        model: c.alias,
        tools: [tool],
        messages: [user(prompt), message, { role: 'tool', tool_call_id: message.tool_calls[0].id, content: result }],
      });
      assert.equal(second.choices[0].message.content, `Tool result: ${result}`);
      assert.equal(second.choices[0].finish_reason, 'stop');
    },
    async 'tool loop'() {
      const prompt = `${c.word()} ${c.calls('Paris')}`;
      const result = c.word('sunny');
      const runner = client.chat.completions.runTools({
        model: c.alias,
        messages: [user(prompt)],
        tools: [{ type: 'function', function: { ...tool.function, parse: JSON.parse, function: ({ city }) => `${city} ${result}` } }],
      });
      assert.equal(await runner.finalContent(), `Tool result: Paris ${result}`);
    },
    async 'parallel tools'() {
      const prompt = `${c.word()} ${c.calls('Paris', 'Rome')}`;
      const [one, two] = [c.word('21 degrees'), c.word('30 degrees')];
      const first = await chat(prompt, { tools: [tool] });
      const { message } = first.choices[0];
      assert.deepEqual(message.tool_calls.map((call) => JSON.parse(call.function.arguments).city), ['Paris', 'Rome']);
      assert.notEqual(message.tool_calls[0].id, message.tool_calls[1].id);
      const second = await client.chat.completions.create({
        model: c.alias,
        tools: [tool],
        messages: [
          user(prompt),
          message,
          { role: 'tool', tool_call_id: message.tool_calls[0].id, content: one },
          { role: 'tool', tool_call_id: message.tool_calls[1].id, content: two },
        ],
      });
      assert.equal(second.choices[0].message.content, `Tool result: ${one}; ${two}`);
    },
    async 'tool stream'() {
      const prompt = `${c.word()} ${c.calls(c.longCity)}`;
      const parts = [];
      let name = '';
      let reason;
      for await (const chunk of await chat(prompt, { tools: [tool], stream: true })) {
        for (const choice of chunk.choices) {
          for (const call of choice.delta.tool_calls ?? []) {
            assert.equal(call.index, 0);
            name += call.function?.name ?? '';
            if (call.function?.arguments) parts.push(call.function.arguments);
          }
          reason = choice.finish_reason ?? reason;
        }
      }
      assert.equal(name, 'weather');
      assert.equal(reason, 'tool_calls');
      assert.ok(parts.length > 1, `${parts.length} parts`);
      assert.deepEqual(JSON.parse(parts.join('')), { city: c.longCity });
    },
    async 'tool choice'() {
      for (const tool_choice of ['required', { type: 'function', function: { name: 'weather' } }]) {
        const got = await chat(c.word(), { tools: [tool], tool_choice });
        assert.equal(got.choices[0].message.tool_calls[0].function.name, 'weather');
      }
      const prompt = c.word();
      const none = await chat(prompt, { tools: [tool], tool_choice: 'none' });
      assert.equal(none.choices[0].message.content, c.echo(prompt));
    },
    async 'structured output'() {
      const got = await client.chat.completions.parse({
        model: c.alias,
        messages: [user(c.word())],
        response_format: zodResponseFormat(City, 'city'),
      });
      assert.deepEqual(got.choices[0].message.parsed, { city: 'a city', population: 1 });
    },
    async 'json object'() {
      const got = await chat(`${c.word('json')} [[text={"ok":true}]]`, { response_format: { type: 'json_object' } });
      assert.deepEqual(JSON.parse(got.choices[0].message.content), { ok: true });
    },
    async image() {
      const prompt = c.word();
      const got = await chat([
        { type: 'text', text: prompt },
        { type: 'image_url', image_url: { url: `data:image/png;base64,${c.pixel}` } },
      ]);
      assert.equal(got.choices[0].message.content, c.echo(prompt));
      c.hasBase64(await c.body(prompt), 'image', 'image/png', c.pixel);
    },
    async 'image by URL'() {
      const prompt = c.word();
      const got = await chat([
        { type: 'text', text: prompt },
        { type: 'image_url', image_url: { url: c.picture } },
      ]);
      assert.equal(got.choices[0].message.content, c.echo(prompt));
      c.hasURL(await c.body(prompt), c.picture);
    },
    async document() {
      const prompt = c.word();
      const got = await chat([
        { type: 'text', text: prompt },
        { type: 'file', file: { filename: 'page.pdf', file_data: `data:application/pdf;base64,${c.page}` } },
      ]);
      assert.equal(got.choices[0].message.content, c.echo(prompt));
      c.hasBase64(await c.body(prompt), 'document', 'application/pdf', c.page);
    },
    async thinking() {
      const prompt = c.word();
      const got = await chat(prompt, { reasoning_effort: 'high' });
      assert.equal(got.choices[0].message.content, c.echo(prompt));
      c.thinks(await c.body(prompt));
      // Not a field of OpenAI's; what others that think have agreed on.
      assert.ok(got.choices[0].message.reasoning_content, JSON.stringify(got.choices[0].message));
      const again = c.word();
      let thought = '';
      for await (const chunk of await chat(again, { reasoning_effort: 'high', stream: true })) {
        thought += chunk.choices[0]?.delta.reasoning_content ?? '';
      }
      assert.ok(thought.length > 0);
    },
    async usage() {
      const prompt = c.word();
      const got = await chat(prompt);
      assert.equal(got.usage.completion_tokens, c.tokens(c.echo(prompt)));
      assert.ok(got.usage.prompt_tokens > 0);
      assert.equal(got.usage.total_tokens, got.usage.prompt_tokens + got.usage.completion_tokens);
      assert.equal(typeof got.usage.prompt_tokens_details.cached_tokens, 'number');
      const again = c.word();
      let usage;
      let withUsage = 0;
      for await (const chunk of await chat(again, { stream: true, stream_options: { include_usage: true } })) {
        if (!chunk.usage) continue;
        usage = chunk.usage;
        withUsage += 1;
        assert.deepEqual(chunk.choices, []);
      }
      assert.equal(withUsage, 1);
      assert.equal(usage.completion_tokens, c.tokens(c.echo(again)));
    },
    async 'bad key'() {
      const bad = new OpenAI({ ...options, apiKey: 'cc_wrong' });
      const error = await c.failure(bad.chat.completions.create({ model: c.alias, messages: [user('x')] }));
      assert.ok(error instanceof OpenAI.AuthenticationError, String(error));
      assert.equal(error.status, 401);
      assert.equal(error.code, 'invalid_api_key');
    },
    async 'unknown model'() {
      const error = await c.failure(chat('x', { model: 'gpt-9' }));
      assert.ok(error instanceof OpenAI.NotFoundError, String(error));
      assert.equal(error.code, 'model_not_found');
      assert.equal(error.param, 'model');
    },
    async 'invalid request'() {
      const error = await c.failure(chat('x', { max_tokens: -1 }));
      assert.ok(error instanceof OpenAI.BadRequestError, String(error));
      assert.equal(error.type, 'invalid_request_error');
      assert.match(error.requestID, /^req_/);
      const several = await c.failure(chat('x', { n: 2 }));
      assert.ok(several instanceof OpenAI.BadRequestError, String(several));
      assert.equal(several.param, 'n');
    },
    async 'rate limit'() {
      const apiKey = await c.spentKey();
      const messages = [user(c.word())];
      const error = await c.failure(new OpenAI({ ...options, apiKey }).chat.completions.create({ model: c.alias, messages }));
      assert.ok(error instanceof OpenAI.RateLimitError, String(error));
      const wait = Number(error.headers.get('retry-after'));
      assert.ok(wait >= 1 && wait <= 3, `Retry-After ${wait}`);
      assert.equal(error.headers.get('x-ratelimit-remaining-requests'), '0');
      // Only a client that waits as long as it is told gets through with one more try.
      const got = await new OpenAI({ ...options, apiKey, maxRetries: 1 }).chat.completions.create({ model: c.alias, messages });
      assert.equal(got.choices[0].message.content, c.echo(messages[0].content));
    },
    async 'upstream error'() {
      const error = await c.failure(chat(`${c.word()} [[error=500]]`));
      assert.ok(error instanceof OpenAI.InternalServerError, String(error));
      assert.equal(error.status, 502);
    },
    async 'error in a stream'() {
      const read = async () => {
        for await (const chunk of await chat(`${c.word()} [[tokens=20 error-after=3]]`, { stream: true })) assert.ok(chunk);
      };
      const error = await c.failure(read());
      assert.ok(error instanceof OpenAI.APIError, String(error));
    },
    async cancel() {
      const prompt = c.word();
      const leaving = new AbortController();
      const stream = await client.chat.completions.create(
        { model: c.alias, messages: [user(c.endless(prompt))], stream: true },
        { signal: leaving.signal },
      );
      for await (const chunk of stream) {
        if (chunk.choices[0]?.delta.content) leaving.abort();
      }
      await c.left(prompt);
    },
    async models() {
      const ids = [];
      for await (const one of client.models.list()) ids.push(one.id);
      for (const id of ['haiku', 'sonnet', 'opus', c.model]) assert.ok(ids.includes(id), `no ${id} in ${ids}`);
      assert.equal((await client.models.retrieve('sonnet')).object, 'model');
    },
    async responses() {
      const prompt = c.word();
      const got = await respond(prompt, { instructions: 'Be brief.' });
      assert.equal(got.object, 'response');
      assert.match(got.id, /^resp_/);
      assert.equal(got.status, 'completed');
      assert.equal(got.output_text, c.echo(prompt));
      await c.servedBy(backend, prompt);
      assert.equal(got.usage.output_tokens, c.tokens(c.echo(prompt)));
      assert.equal(got.usage.total_tokens, got.usage.input_tokens + got.usage.output_tokens);
    },
    async 'responses stream'() {
      const prompt = c.word();
      const list = [];
      const types = [];
      let last = -1;
      let done;
      for await (const event of await respond(prompt, { stream: true })) {
        assert.ok(event.sequence_number > last, 'sequence_number rises');
        last = event.sequence_number;
        if (types.at(-1) !== event.type) types.push(event.type);
        if (event.type === 'response.output_text.delta') list.push(event.delta);
        if (event.type === 'response.completed') done = event.response;
      }
      c.deltas(list, c.echo(prompt));
      assert.deepEqual(types, [
        'response.created',
        'response.in_progress',
        'response.output_item.added',
        'response.content_part.added',
        'response.output_text.delta',
        'response.output_text.done',
        'response.content_part.done',
        'response.output_item.done',
        'response.completed',
      ]);
      assert.equal(done.output[0].content[0].text, c.echo(prompt));
      const again = c.word();
      const final = await client.responses.stream({ model: c.alias, input: again }).finalResponse();
      assert.equal(final.output_text, c.echo(again));
    },
    async 'responses tools'() {
      const prompt = `${c.word()} ${c.calls(c.longCity)}`;
      const result = c.word('21 degrees');
      const first = await respond(prompt, { tools: [flatTool] });
      const call = first.output.find((item) => item.type === 'function_call');
      assert.equal(call?.name, 'weather');
      assert.deepEqual(JSON.parse(call.arguments), { city: c.longCity });
      const input = [user(prompt), ...first.output, { type: 'function_call_output', call_id: call.call_id, output: result }];
      const second = await respond(input, { tools: [flatTool] });
      assert.equal(second.output_text, `Tool result: ${result}`);
      const parts = [];
      let whole;
      for await (const event of await respond(`${c.word()} ${c.calls(c.longCity)}`, { tools: [flatTool], stream: true })) {
        if (event.type === 'response.function_call_arguments.delta') parts.push(event.delta);
        if (event.type === 'response.function_call_arguments.done') whole = event.arguments;
      }
      c.deltas(parts, whole);
      assert.deepEqual(JSON.parse(whole), { city: c.longCity });
    },
    async 'responses structured'() {
      const got = await client.responses.parse({ model: c.alias, input: c.word(), text: { format: zodTextFormat(City, 'city') } });
      assert.deepEqual(got.output_parsed, { city: 'a city', population: 1 });
    },
    async 'responses kept'() {
      const [one, two] = [c.word('one'), c.word('two')];
      const first = await respond(one);
      const second = await respond(two, { previous_response_id: first.id });
      assert.equal(second.output_text, c.echo(two));
      assert.equal(second.previous_response_id, first.id);
      c.inOrder((await c.body(two)).messages, one, c.echo(one), two);
      assert.equal((await client.responses.retrieve(first.id)).output_text, c.echo(one));
      await client.responses.delete(first.id);
      const error = await c.failure(client.responses.retrieve(first.id));
      assert.ok(error instanceof OpenAI.NotFoundError, String(error));
    },
  };
});
