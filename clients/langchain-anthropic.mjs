// LangChain with its package for the Messages API.
import assert from 'node:assert/strict';
import { ChatAnthropic } from '@langchain/anthropic';
import { HumanMessage, SystemMessage } from '@langchain/core/messages';
import * as c from './check.mjs';
import { checks } from './langchain.mjs';

await c.run('langchain anthropic', (backend) => {
  const clientOptions = { defaultHeaders: { 'X-Claude-Backend': backend } };
  const model = (more = {}) =>
    new ChatAnthropic({ model: c.model, apiKey: c.key, maxTokens: 2000, maxRetries: 0, anthropicApiUrl: c.url, clientOptions, ...more });
  const thinking = { thinking: { type: 'adaptive', display: 'summarized' } };
  const thought = (message) => message.content.find((block) => block.type === 'thinking')?.thinking;

  return {
    // The package adds message_start's one output token to message_delta's count of all.
    ...checks(backend, model, thinking, thought, { type: 'tool', name: 'weather' }, 1),
    async 'invalid request'() {
      const error = await c.failure(model({ invocationKwargs: { max_tokens: -1 } }).invoke('x'));
      assert.equal(error.status, 400, String(error));
    },
    async 'web search'() {
      const bound = model().bindTools([{ type: 'web_search_20250305', name: 'web_search' }]);
      if (backend === 'cli') {
        const error = await c.failure(bound.invoke(c.search(c.word())));
        assert.equal(error.status, 400, String(error));
        assert.match(error.message, /runs at the API/);
        return;
      }
      const got = await bound.invoke(c.search(c.word()));
      assert.deepEqual(got.content.map((b) => b.type), ['server_tool_use', 'web_search_tool_result', 'text']);
    },
    async caching() {
      const rules = new SystemMessage({
        content: [{ type: 'text', text: `${c.word('rules')} `.repeat(200), cache_control: { type: 'ephemeral' } }],
      });
      const ask = () => model().invoke([rules, new HumanMessage(c.word())]);
      const first = await ask();
      const second = await ask();
      assert.ok(first.usage_metadata.input_token_details.cache_creation > 0, JSON.stringify(first.usage_metadata));
      assert.ok(second.usage_metadata.input_token_details.cache_read > 0, JSON.stringify(second.usage_metadata));
    },
  };
});
