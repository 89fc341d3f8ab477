// LangChain with its package for OpenAI's APIs: Chat Completions and Responses.
import assert from 'node:assert/strict';
import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI } from '@langchain/openai';
import { z } from 'zod';
import * as c from './check.mjs';
import { City, checks, want } from './langchain.mjs';

const weather = tool(async () => '', { name: 'weather', description: c.weather.description, schema: z.object({ city: z.string() }) });

await c.run('langchain openai', (backend) => {
  const configuration = { baseURL: `${c.url}/v1`, defaultHeaders: { 'X-Claude-Backend': backend } };
  const model = (more = {}) => new ChatOpenAI({ model: c.alias, apiKey: c.key, maxRetries: 0, configuration, ...more });
  const responses = (more = {}) => model({ useResponsesApi: true, ...more });
  // The package has no setting for it that Claude's names pass, but hands on what it doesn't know.
  const thinking = { modelKwargs: { reasoning_effort: 'high' } };
  const thought = (message) => message.additional_kwargs.reasoning_content;

  return {
    ...checks(backend, model, thinking, thought, { type: 'function', function: { name: 'weather' } }),
    async 'json object'() {
      const got = await model()
        .withStructuredOutput(z.object({ ok: z.boolean() }), { method: 'jsonMode' })
        .invoke(`${c.word('json')} [[text={"ok":true}]]`);
      assert.deepEqual(got, { ok: true });
    },
    async 'invalid request'() {
      const error = await c.failure(model({ temperature: 5 }).invoke('x'));
      assert.equal(error.status, 400, String(error));
    },
    async responses() {
      const prompt = c.word();
      const got = await responses().invoke(prompt);
      assert.equal(got.text, c.echo(prompt));
      assert.equal(got.usage_metadata.output_tokens, c.tokens(c.echo(prompt)));
    },
    async 'responses stream'() {
      const prompt = c.word();
      const list = [];
      for await (const chunk of await responses().stream(prompt)) if (chunk.text) list.push(chunk.text);
      c.deltas(list, c.echo(prompt));
    },
    async 'responses tools'() {
      const prompt = new HumanMessage(`${c.word()} ${c.calls('Paris')}`);
      const content = c.word('21 degrees');
      const bound = responses().bindTools([weather]);
      const first = await bound.invoke([prompt]);
      assert.deepEqual(first.tool_calls[0]?.args, { city: 'Paris' });
      const second = await bound.invoke([prompt, first, new ToolMessage({ tool_call_id: first.tool_calls[0].id, content })]);
      assert.equal(second.text, `Tool result: ${content}`);
      let whole;
      for await (const chunk of await bound.stream(`${c.word()} ${c.calls(c.longCity)}`)) whole = whole ? whole.concat(chunk) : chunk;
      assert.deepEqual(whole.tool_calls[0].args, { city: c.longCity });
    },
    async 'responses structured'() {
      const got = await responses().withStructuredOutput(City, { name: 'city', method: 'jsonSchema' }).invoke(c.word());
      assert.deepEqual(got, want);
    },
    async 'responses kept'() {
      const [one, two] = [c.word('one'), c.word('two')];
      const first = await responses().invoke(one);
      const second = await responses().invoke(two, { previous_response_id: first.response_metadata.id });
      assert.equal(second.text, c.echo(two));
      c.inOrder((await c.body(two)).messages, one, c.echo(one), two);
    },
  };
});
