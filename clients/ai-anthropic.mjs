// The Vercel AI SDK with its provider for the Messages API.
import assert from 'node:assert/strict';
import { anthropic, createAnthropic } from '@ai-sdk/anthropic';
import { APICallError, generateText } from 'ai';
import { checks } from './ai.mjs';
import * as c from './check.mjs';

await c.run('ai anthropic', (backend) => {
  const model = (apiKey = c.key, id = c.model) =>
    createAnthropic({ baseURL: `${c.url}/v1`, apiKey, headers: { 'X-Claude-Backend': backend } })(id);
  const { 'json object': _, ...shared } = checks(backend, model, { anthropic: { thinking: { type: 'adaptive', display: 'summarized' } } });
  return {
    ...shared,
    async citations() {
      const providerOptions = { anthropic: { citations: { enabled: true }, title: 'Facts' } };
      const data = Buffer.from(c.fact).toString('base64');
      const content = [{ type: 'file', data, mediaType: 'text/plain', filename: 'facts.txt', providerOptions }, { type: 'text', text: c.word() }];
      const got = await generateText({ model: model(), messages: [{ role: 'user', content }], maxRetries: 0 });
      assert.equal(got.sources.length, 1, JSON.stringify(got.content));
      assert.ok(c.fact.startsWith(got.sources[0].providerMetadata.anthropic.citedText));
    },
    async 'web search'() {
      const tools = { web_search: anthropic.tools.webSearch_20250305({}) };
      const asked = generateText({ model: model(), prompt: c.search(c.word()), tools, maxRetries: 0 });
      if (backend === 'cli') {
        const error = await c.failure(asked);
        assert.ok(APICallError.isInstance(error) && error.statusCode === 400, String(error));
        assert.match(error.message, /runs at the API/);
        return;
      }
      const got = await asked;
      assert.equal(got.toolResults[0].output[0].url, 'https://example.com/');
    },
    async caching() {
      const system = {
        role: 'system',
        content: `${c.word('rules')} `.repeat(200),
        providerOptions: { anthropic: { cacheControl: { type: 'ephemeral' } } },
      };
      const ask = () => generateText({ model: model(), system, prompt: c.word(), maxRetries: 0 });
      const first = await ask();
      const second = await ask();
      assert.ok(first.usage.inputTokenDetails.cacheWriteTokens > 0, JSON.stringify(first.usage));
      assert.ok(second.usage.inputTokenDetails.cacheReadTokens > 0, JSON.stringify(second.usage));
    },
  };
});
