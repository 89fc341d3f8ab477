// The Vercel AI SDK with its provider for the Messages API.
import assert from 'node:assert/strict';
import { createAnthropic } from '@ai-sdk/anthropic';
import { generateText } from 'ai';
import { checks } from './ai.mjs';
import * as c from './check.mjs';

await c.run('ai anthropic', (backend) => {
  const model = (apiKey = c.key, id = c.model) =>
    createAnthropic({ baseURL: `${c.url}/v1`, apiKey, headers: { 'X-Claude-Backend': backend } })(id);
  const { 'json object': _, ...shared } = checks(backend, model, { anthropic: { thinking: { type: 'adaptive', display: 'summarized' } } });
  return {
    ...shared,
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
