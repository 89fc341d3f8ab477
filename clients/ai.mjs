// The checks of the Vercel AI SDK that its providers share.
import assert from 'node:assert/strict';
import { APICallError, Output, generateObject, generateText, jsonSchema, stepCountIs, streamObject, streamText, tool } from 'ai';
import { z } from 'zod';
import * as c from './check.mjs';

const City = z.object({ city: z.string(), population: z.number().int() });
const user = (content) => ({ role: 'user', content });
const weather = { description: c.weather.description, inputSchema: jsonSchema(c.weather.schema) };
const described = { weather: tool(weather) };

// Its warnings, of settings that a model doesn't take, would stand among the results.
globalThis.AI_SDK_LOG_WARNINGS = false;

/**
 * @param {string} backend
 * @param {(key?: string, id?: string) => object} model makes a model of the provider
 * @param {Record<string, object>} thinking the provider's options that turn thinking on
 */
export function checks(backend, model, thinking) {
  const plain = (prompt, more = {}) => generateText({ model: model(), prompt, maxRetries: 0, ...more });
  const stream = (prompt, more = {}) => streamText({ model: model(), prompt, maxRetries: 0, onError: () => {}, ...more });
  const failed = async (promise, status) => {
    const error = await c.failure(promise);
    assert.ok(APICallError.isInstance(error), String(error));
    assert.equal(error.statusCode, status);
    return error;
  };

  return {
    async plain() {
      const prompt = c.word();
      const got = await plain(prompt);
      assert.equal(got.text, c.echo(prompt));
      assert.equal(got.finishReason, 'stop');
      assert.equal(got.response.modelId, c.model);
      await c.servedBy(backend, prompt);
    },
    async stream() {
      const prompt = c.word();
      const list = [];
      const got = stream(prompt);
      for await (const delta of got.textStream) list.push(delta);
      c.deltas(list, c.echo(prompt));
      assert.equal(await got.finishReason, 'stop');
    },
    async history() {
      const [system, one, two, prompt] = [c.word('rules'), c.word('one'), c.word('two'), c.word('three')];
      const messages = [user(one), { role: 'assistant', content: two }, user(prompt)];
      const got = await generateText({ model: model(), system, messages, maxRetries: 0 });
      assert.equal(got.text, c.echo(prompt));
      const sent = await c.body(prompt);
      assert.ok(JSON.stringify(sent.system).includes(system));
      c.inOrder(sent.messages, one, two, prompt);
    },
    async tools() {
      const prompt = `${c.word()} ${c.calls('Paris')}`;
      const result = c.word('21 degrees');
      const first = await plain(prompt, { tools: described });
      assert.equal(first.finishReason, 'tool-calls');
      assert.equal(first.toolCalls.length, 1);
      const [{ toolCallId, toolName, input }] = first.toolCalls;
      assert.equal(toolName, 'weather');
      assert.deepEqual(input, { city: 'Paris' });
      const content = [{ type: 'tool-result', toolCallId, toolName, output: { type: 'text', value: result } }];
      const messages = [user(prompt), ...first.response.messages, { role: 'tool', content }];
      const second = await generateText({ model: model(), messages, tools: described, maxRetries: 0 });
      assert.equal(second.text, `Tool result: ${result}`);
    },
    async 'tool loop'() {
      const result = c.word('sunny');
      const tools = { weather: tool({ ...weather, execute: async ({ city }) => `${city} ${result}` }) };
      const got = await plain(`${c.word()} ${c.calls('Paris')}`, { tools, stopWhen: stepCountIs(3) });
      assert.equal(got.text, `Tool result: Paris ${result}`);
      assert.equal(got.steps.length, 2);
      const streamed = stream(`${c.word()} ${c.calls('Rome')}`, { tools, stopWhen: stepCountIs(3) });
      assert.equal(await streamed.text, `Tool result: Rome ${result}`);
    },
    async 'parallel tools'() {
      const one = c.word('degrees');
      const tools = { weather: tool({ ...weather, execute: async ({ city }) => `${city} ${one}` }) };
      const got = await plain(`${c.word()} ${c.calls('Paris', 'Rome')}`, { tools, stopWhen: stepCountIs(3) });
      assert.deepEqual(got.steps[0].toolCalls.map((call) => call.input.city), ['Paris', 'Rome']);
      assert.equal(got.text, `Tool result: Paris ${one}; Rome ${one}`);
    },
    async 'tool stream'() {
      const parts = [];
      let call;
      for await (const part of stream(`${c.word()} ${c.calls(c.longCity)}`, { tools: described }).fullStream) {
        if (part.type === 'tool-input-delta' && part.delta) parts.push(part.delta);
        if (part.type === 'tool-call') call = part;
        assert.notEqual(part.type, 'error', JSON.stringify(part));
      }
      assert.ok(parts.length > 1, `${parts.length} parts`);
      assert.deepEqual(JSON.parse(parts.join('')), { city: c.longCity });
      assert.deepEqual(call.input, { city: c.longCity });
    },
    async 'tool choice'() {
      for (const toolChoice of ['required', { type: 'tool', toolName: 'weather' }]) {
        const got = await plain(c.word(), { tools: described, toolChoice });
        assert.equal(got.toolCalls[0]?.toolName, 'weather');
      }
      const prompt = c.word();
      assert.equal((await plain(prompt, { tools: described, toolChoice: 'none' })).text, c.echo(prompt));
    },
    async 'structured output'() {
      const want = { city: 'a city', population: 1 };
      assert.deepEqual((await generateObject({ model: model(), schema: City, prompt: c.word(), maxRetries: 0 })).object, want);
      assert.deepEqual((await plain(c.word(), { output: Output.object({ schema: City }) })).output, want);
      const streamed = streamObject({ model: model(), schema: City, prompt: c.word(), maxRetries: 0, onError: () => {} });
      for await (const _ of streamed.partialObjectStream);
      assert.deepEqual(await streamed.object, want);
    },
    async 'json object'() {
      const prompt = `${c.word('json')} [[text={"ok":true}]]`;
      const got = await generateObject({ model: model(), output: 'no-schema', prompt, maxRetries: 0 });
      assert.deepEqual(got.object, { ok: true });
    },
    async image() {
      const prompt = c.word();
      const content = [{ type: 'text', text: prompt }, { type: 'image', image: c.pixel, mediaType: 'image/png' }];
      const got = await generateText({ model: model(), messages: [user(content)], maxRetries: 0 });
      assert.equal(got.text, c.echo(prompt));
      c.hasBase64(await c.body(prompt), 'image', 'image/png', c.pixel);
    },
    async 'image by URL'() {
      const prompt = c.word();
      const content = [{ type: 'text', text: prompt }, { type: 'image', image: new URL(c.picture) }];
      const got = await generateText({ model: model(), messages: [user(content)], maxRetries: 0 });
      assert.equal(got.text, c.echo(prompt));
      c.hasURL(await c.body(prompt), c.picture);
    },
    async document() {
      const prompt = c.word();
      const content = [{ type: 'text', text: prompt }, { type: 'file', data: c.page, mediaType: 'application/pdf' }];
      const got = await generateText({ model: model(), messages: [user(content)], maxRetries: 0 });
      assert.equal(got.text, c.echo(prompt));
      c.hasBase64(await c.body(prompt), 'document', 'application/pdf', c.page);
    },
    async thinking() {
      const prompt = c.word();
      const got = await plain(prompt, { providerOptions: thinking });
      assert.equal(got.text, c.echo(prompt));
      assert.ok(got.reasoningText, 'no reasoning');
      c.thinks(await c.body(prompt));
      const parts = [];
      const again = c.word();
      const streamed = stream(again, { providerOptions: thinking });
      for await (const part of streamed.fullStream) if (part.type === 'reasoning-delta') parts.push(part.text);
      c.deltas(parts, await streamed.reasoningText);
      assert.equal(await streamed.text, c.echo(again));
    },
    async usage() {
      const prompt = c.word();
      const { usage } = await plain(prompt);
      assert.equal(usage.outputTokens, c.tokens(c.echo(prompt)));
      assert.ok(usage.inputTokens > 0);
      const again = c.word();
      const streamed = stream(again);
      await streamed.consumeStream();
      const total = await streamed.usage;
      assert.equal(total.outputTokens, c.tokens(c.echo(again)));
      assert.ok(total.inputTokens > 0);
    },
    async 'bad key'() {
      await failed(generateText({ model: model('cc_wrong'), prompt: 'x', maxRetries: 0 }), 401);
    },
    async 'unknown model'() {
      await failed(generateText({ model: model(c.key, 'gpt-9'), prompt: 'x', maxRetries: 0 }), 404);
    },
    async 'invalid request'() {
      const error = await failed(plain('x', { headers: { 'X-Claude-Backend': 'nowhere' } }), 400);
      assert.match(error.message, /X-Claude-Backend: must be cli or direct/);
      assert.equal(error.isRetryable, false);
    },
    async 'rate limit'() {
      const key = await c.spentKey();
      const prompt = c.word();
      const error = await failed(generateText({ model: model(key), prompt, maxRetries: 0 }), 429);
      assert.equal(error.isRetryable, true);
      const wait = Number(error.responseHeaders['retry-after']);
      assert.ok(wait >= 1 && wait <= 3, `Retry-After ${wait}`);
      // Only a client that waits as long as it is told gets through with one more try.
      assert.equal((await generateText({ model: model(key), prompt, maxRetries: 1 })).text, c.echo(prompt));
    },
    async 'upstream error'() {
      const error = await c.failure(plain(`${c.word()} [[error=500]]`));
      // On the direct path the Messages API's own status is passed on.
      assert.ok(APICallError.isInstance(error) && [500, 502].includes(error.statusCode), String(error));
      assert.equal(error.isRetryable, true);
    },
    async 'error in a stream'() {
      const types = [];
      for await (const part of stream(`${c.word()} [[tokens=20 error-after=3]]`).fullStream) types.push(part.type);
      assert.ok(types.includes('text-delta') && types.includes('error'), types.join(' '));
    },
    async cancel() {
      const prompt = c.word();
      const leaving = new AbortController();
      for await (const _ of stream(c.endless(prompt), { abortSignal: leaving.signal }).textStream) leaving.abort();
      await c.left(prompt);
    },
  };
}
