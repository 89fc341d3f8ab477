// The checks of LangChain that its packages share.
import assert from 'node:assert/strict';
import { AIMessage, HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { z } from 'zod';
import * as c from './check.mjs';

export const City = z.object({ city: z.string(), population: z.number().int() });
export const want = { city: 'a city', population: 1 };
const weather = tool(async () => '', { name: 'weather', description: c.weather.description, schema: z.object({ city: z.string() }) });

/**
 * @param {string} backend
 * @param {(more?: object) => object} model makes a chat model of the package
 * @param {object} thinking the settings that turn thinking on
 * @param {(message: object) => string} thought what the model thought, by the package's own name for it
 * @param {object} named how tool_choice names the tool
 * @param {number} surplus by how much the package counts more output tokens of a stream than there are
 */
export function checks(backend, model, thinking, thought, named, surplus = 0) {
  const failed = async (promise, status, code) => {
    const error = await c.failure(promise);
    assert.equal(error.status, status, String(error));
    if (code) assert.equal(error.lc_error_code, code);
    return error;
  };

  return {
    async plain() {
      const prompt = c.word();
      const got = await model().invoke(prompt);
      assert.ok(AIMessage.isInstance(got));
      assert.equal(got.text, c.echo(prompt));
      await c.servedBy(backend, prompt);
    },
    async stream() {
      const prompt = c.word();
      const list = [];
      let whole;
      for await (const chunk of await model().stream(prompt)) {
        if (chunk.text) list.push(chunk.text);
        whole = whole ? whole.concat(chunk) : chunk;
      }
      c.deltas(list, c.echo(prompt));
      assert.equal(whole.text, c.echo(prompt));
    },
    async history() {
      const [system, one, two, prompt] = [c.word('rules'), c.word('one'), c.word('two'), c.word('three')];
      const got = await model().invoke([new SystemMessage(system), new HumanMessage(one), new AIMessage(two), new HumanMessage(prompt)]);
      assert.equal(got.text, c.echo(prompt));
      const sent = await c.body(prompt);
      assert.ok(JSON.stringify(sent.system).includes(system));
      c.inOrder(sent.messages, one, two, prompt);
    },
    async tools() {
      const prompt = new HumanMessage(`${c.word()} ${c.calls('Paris')}`);
      const content = c.word('21 degrees');
      const bound = model().bindTools([weather]);
      const first = await bound.invoke([prompt]);
      assert.equal(first.tool_calls.length, 1);
      assert.equal(first.tool_calls[0].name, 'weather');
      assert.deepEqual(first.tool_calls[0].args, { city: 'Paris' });
      const second = await bound.invoke([prompt, first, new ToolMessage({ tool_call_id: first.tool_calls[0].id, content })]);
      assert.equal(second.text, `Tool result: ${content}`);
    },
    async 'parallel tools'() {
      const prompt = new HumanMessage(`${c.word()} ${c.calls('Paris', 'Rome')}`);
      const [one, two] = [c.word('21 degrees'), c.word('30 degrees')];
      const bound = model().bindTools([weather]);
      const first = await bound.invoke([prompt]);
      assert.deepEqual(first.tool_calls.map((call) => call.args.city), ['Paris', 'Rome']);
      const results = [one, two].map((content, i) => new ToolMessage({ tool_call_id: first.tool_calls[i].id, content }));
      const second = await bound.invoke([prompt, first, ...results]);
      assert.equal(second.text, `Tool result: ${one}; ${two}`);
    },
    async 'tool stream'() {
      const parts = [];
      let whole;
      for await (const chunk of await model().bindTools([weather]).stream(`${c.word()} ${c.calls(c.longCity)}`)) {
        for (const call of chunk.tool_call_chunks ?? []) if (call.args) parts.push(call.args);
        whole = whole ? whole.concat(chunk) : chunk;
      }
      assert.ok(parts.length > 1, `${parts.length} parts`);
      assert.deepEqual(JSON.parse(parts.join('')), { city: c.longCity });
      assert.deepEqual(whole.tool_calls[0].args, { city: c.longCity });
    },
    async 'tool choice'() {
      for (const tool_choice of ['any', named]) {
        const got = await model().bindTools([weather], { tool_choice }).invoke(c.word());
        assert.equal(got.tool_calls[0]?.name, 'weather');
      }
      const prompt = c.word();
      const none = await model().bindTools([weather], { tool_choice: 'none' }).invoke(prompt);
      assert.equal(none.text, c.echo(prompt));
    },
    async 'structured output'() {
      for (const method of ['jsonSchema', 'functionCalling']) {
        assert.deepEqual(await model().withStructuredOutput(City, { name: 'city', method }).invoke(c.word()), want, method);
      }
    },
    async image() {
      const prompt = c.word();
      const picture = { type: 'image', source_type: 'base64', mime_type: 'image/png', data: c.pixel };
      const got = await model().invoke([new HumanMessage({ content: [{ type: 'text', text: prompt }, picture] })]);
      assert.equal(got.text, c.echo(prompt));
      c.hasBase64(await c.body(prompt), 'image', 'image/png', c.pixel);
    },
    async 'image by URL'() {
      const prompt = c.word();
      const picture = { type: 'image', source_type: 'url', url: c.picture };
      const got = await model().invoke([new HumanMessage({ content: [{ type: 'text', text: prompt }, picture] })]);
      assert.equal(got.text, c.echo(prompt));
      c.hasURL(await c.body(prompt), c.picture);
    },
    async document() {
      const prompt = c.word();
      const file = { type: 'file', source_type: 'base64', mime_type: 'application/pdf', data: c.page, metadata: { filename: 'page.pdf' } };
      const got = await model().invoke([new HumanMessage({ content: [{ type: 'text', text: prompt }, file] })]);
      assert.equal(got.text, c.echo(prompt));
      c.hasBase64(await c.body(prompt), 'document', 'application/pdf', c.page);
    },
    async thinking() {
      const prompt = c.word();
      const got = await model(thinking).invoke(prompt);
      assert.equal(got.text, c.echo(prompt));
      assert.ok(thought(got), JSON.stringify(got));
      c.thinks(await c.body(prompt));
      let whole;
      for await (const chunk of await model(thinking).stream(c.word())) whole = whole ? whole.concat(chunk) : chunk;
      assert.ok(thought(whole), JSON.stringify(whole));
    },
    async usage() {
      const prompt = c.word();
      const got = await model().invoke(prompt);
      assert.equal(got.usage_metadata.output_tokens, c.tokens(c.echo(prompt)));
      assert.ok(got.usage_metadata.input_tokens > 0);
      const again = c.word();
      let whole;
      for await (const chunk of await model({ streamUsage: true }).stream(again)) whole = whole ? whole.concat(chunk) : chunk;
      assert.equal(whole.usage_metadata.output_tokens, c.tokens(c.echo(again)) + surplus);
      assert.ok(whole.usage_metadata.input_tokens > 0);
    },
    async 'bad key'() {
      await failed(model({ apiKey: 'cc_wrong' }).invoke('x'), 401, 'MODEL_AUTHENTICATION');
    },
    async 'unknown model'() {
      await failed(model({ model: 'gpt-9' }).invoke('x'), 404, 'MODEL_NOT_FOUND');
    },
    async 'rate limit'() {
      const apiKey = await c.spentKey();
      const prompt = c.word();
      const error = await failed(model({ apiKey }).invoke(prompt), 429, 'MODEL_RATE_LIMIT');
      const wait = Number(error.headers.get('retry-after'));
      assert.ok(wait >= 1 && wait <= 3, `Retry-After ${wait}`);
      // Only a client that waits as long as it is told gets through with one more try.
      assert.equal((await model({ apiKey, maxRetries: 1 }).invoke(prompt)).text, c.echo(prompt));
    },
    async 'upstream error'() {
      const error = await c.failure(model().invoke(`${c.word()} [[error=500]]`));
      // On the direct path the Messages API's own status is passed on.
      assert.ok([500, 502].includes(error.status), String(error));
    },
    async 'error in a stream'() {
      const read = async () => {
        for await (const chunk of await model().stream(`${c.word()} [[tokens=20 error-after=3]]`)) assert.ok(chunk);
      };
      await c.failure(read());
    },
    async cancel() {
      const prompt = c.word();
      const leaving = new AbortController();
      const read = async () => {
        for await (const chunk of await model().stream(c.endless(prompt), { signal: leaving.signal })) if (chunk.text) leaving.abort();
      };
      await read().catch((error) => assert.ok(leaving.signal.aborted, String(error)));
      await c.left(prompt);
    },
  };
}
