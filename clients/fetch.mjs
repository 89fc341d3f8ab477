// Plain HTTP, as the callers of the service that this one replaces use it.
import assert from 'node:assert/strict';
import * as c from './check.mjs';

const user = (content) => ({ role: 'user', content });

await c.run('fetch', (backend) => {
  const call = async (method, path, body, headers = {}) => {
    const response = await fetch(c.url + path, {
      method,
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${c.key}`, 'X-Claude-Backend': backend, ...headers },
      body: body && JSON.stringify(body),
    });
    return { status: response.status, headers: response.headers, body: await response.text() };
  };
  const good = async (...args) => {
    const got = await call(...args);
    assert.equal(got.status, 200, got.body);
    return JSON.parse(got.body);
  };
  const process = (more) => good('POST', '/v1/process', { provider: 'openai', model_name: 'gpt-4o-mini', ...more });
  const tool = { type: 'function', function: { name: c.weather.name, description: c.weather.description, parameters: c.weather.schema } };

  return {
    async chat() {
      const prompt = c.word();
      const got = await good('POST', '/v1/chat/completions', { model: c.alias, messages: [user(prompt)] });
      assert.equal(got.content, c.echo(prompt));
      assert.equal(got.choices[0].message.content, got.content);
      assert.ok(got.cost > 0);
      assert.equal(got.project_id, 'clients');
      await c.servedBy(backend, prompt);
      assert.equal(got.usage.output_tokens, c.tokens(c.echo(prompt)));
      assert.equal(got.usage.total_tokens, got.usage.prompt_tokens + got.usage.completion_tokens);
    },
    async process() {
      const [system, prompt] = [c.word('rules'), c.word()];
      for (const more of [
        { messages: [{ role: 'system', content: system }, user(prompt)] },
        { system_message: system, user_message: prompt },
        { system_message: system, content: prompt },
      ]) {
        const got = await process(more);
        assert.equal(got.content, c.echo(prompt));
        assert.equal(got.model, 'gpt-4o-mini');
        assert.equal(got.provider, 'openai');
        assert.equal(got.metadata.actual_model, c.model);
        assert.equal(got.metadata.finish_reason, 'stop');
        assert.match(got.metadata.mapped_from, /^openai:gpt-4o-mini → (claudecode|anthropic):haiku$/);
        assert.ok(got.metadata.cost_usd > 0 && got.metadata.processing_time > 0);
        assert.equal(got.metadata.usage.output_tokens, c.tokens(c.echo(prompt)));
        assert.ok(JSON.stringify((await c.body(prompt)).system).includes(system));
      }
    },
    async 'process tools'() {
      const prompt = `${c.word()} ${c.calls('Paris')}`;
      const result = c.word('21 degrees');
      const first = await process({ messages: [user(prompt)], tools: [tool] });
      assert.equal(first.metadata.finish_reason, 'tool_calls');
      const used = first.content_blocks.find((b) => b.type === 'tool_use');
      assert.deepEqual(used.input, { city: 'Paris' });
      const second = await process({
        messages: [
          user(prompt),
          { role: 'assistant', content: first.content_blocks },
          { role: 'tool', tool_call_id: used.id, content: result },
        ],
        tools: [tool],
      });
      assert.equal(second.content, `Tool result: ${result}`);
    },
    async 'process schema'() {
      const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
      const got = await process({ user_message: c.word(), output_schema: schema });
      assert.deepEqual(JSON.parse(got.content), { city: 'a city' });
    },
    async 'process media'() {
      const prompt = c.word();
      const got = await process({ user_message: prompt, media_content: [{ media_type: 'image/png', data: c.pixel }] });
      await c.servedBy(backend, prompt);
      assert.equal(got.content, c.echo(prompt));
      c.hasBase64(await c.body(prompt), 'image', 'image/png', c.pixel);
    },
    async 'process stream'() {
      const prompt = c.word();
      const { status, headers, body } = await call('POST', '/v1/process', {
        provider: 'openai',
        model_name: 'gpt-4o-mini',
        user_message: prompt,
        additional_params: { stream: true },
      });
      assert.equal(status, 200, body);
      assert.match(headers.get('content-type'), /^text\/event-stream/);
      const events = [...body.matchAll(/^data: (.*)$/gm)].map((m) => JSON.parse(m[1]));
      c.deltas(events.filter((e) => e.type === 'token').map((e) => e.content), c.echo(prompt));
      const done = events.at(-1);
      assert.equal(done.type, 'done');
      assert.equal(done.content, c.echo(prompt));
      assert.equal(done.metadata.finish_reason, 'stop');
    },
    async 'process async'() {
      const prompt = c.word();
      const accepted = await call('POST', '/v1/process', {
        provider: 'claudecode',
        model_name: c.alias,
        user_message: prompt,
        async_processing: true,
      });
      assert.equal(accepted.status, 202, accepted.body);
      const { id, status_url: path } = JSON.parse(accepted.body);
      assert.equal(path, `/v1/process/${id}`);
      for (;;) {
        const run = await good('GET', path);
        if (run.status === 'running') {
          await new Promise((resolve) => setTimeout(resolve, 20)); // nothing tells of the end
          continue;
        }
        assert.equal(run.status, 'completed', JSON.stringify(run));
        assert.equal(run.response.content, c.echo(prompt));
        break;
      }
      assert.equal((await call('GET', '/v1/process/proc_none')).status, 404);
    },
    async 'process errors'() {
      const none = await call('POST', '/v1/process', { provider: 'openai', model_name: 'gpt-4' });
      assert.equal(none.status, 400);
      assert.equal(JSON.parse(none.body).detail, 'No messages provided');
      const bad = await call('POST', '/v1/process', { provider: 'openai', model_name: 'gpt-4', content: 'x' }, { Authorization: 'Bearer cc_wrong' });
      assert.equal(bad.status, 401);
      const told = JSON.parse(bad.body);
      assert.equal(told.detail, told.error.message);
      assert.equal(bad.headers.get('x-error-category'), 'auth_error');
    },
    async batch() {
      const [one, two, three] = [c.word('one'), `${c.word('two')} [[error=400]]`, c.word('three')];
      const got = await good('POST', '/v1/batch', { prompts: [{ prompt: one, id: 'a' }, { prompt: two }, { prompt: three, id: 'c' }], model: c.alias });
      assert.deepEqual([got.total, got.completed, got.failed], [3, 2, 1]);
      assert.deepEqual(got.results.map((r) => r.status), ['completed', 'failed', 'completed']);
      assert.deepEqual(got.results.map((r) => r.content), [c.echo(one), null, c.echo(three)]);
      assert.deepEqual([got.results[0].id, got.results[2].id], ['a', 'c']);
      assert.ok(got.results[1].error && got.total_cost > 0 && got.total_tokens > 0);
    },
    async route() {
      const simple = await good('POST', '/v1/route', { prompt: 'list the files', context_size: 100 });
      assert.equal(simple.recommended_model, 'haiku');
      const large = await good('POST', '/v1/route', { prompt: 'hello', context_size: 20_000 });
      assert.equal(large.recommended_model, 'opus');
      assert.ok(simple.reasoning && simple.budget_status);
    },
    async usage() {
      const read = () => good('GET', '/v1/usage?period=day');
      const before = await read();
      await process({ user_message: c.word() });
      const after = await read();
      assert.ok(after.total_tokens > before.total_tokens && after.total_cost > before.total_cost);
      assert.equal(after.project_id, 'clients');
      assert.equal(after.period, 'day');
      assert.ok(after.by_model[c.model].tokens > 0, JSON.stringify(after));
      assert.ok('limit' in after && 'remaining' in after);
      assert.equal((await call('GET', '/v1/usage?period=year')).status, 400);
    },
    async providers() {
      const all = JSON.stringify(await good('GET', '/v1/providers'));
      for (const name of ['claudecode', 'anthropic']) {
        assert.ok(all.includes(`"${name}"`), all);
        assert.ok(JSON.stringify(await good('GET', `/v1/providers/${name}/models`)).includes(c.model));
      }
      assert.equal((await call('GET', '/v1/providers/openai/models')).status, 404);
    },
  };
});
