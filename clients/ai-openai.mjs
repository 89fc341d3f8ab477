// The Vercel AI SDK with its provider for APIs like OpenAI's.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { checks } from './ai.mjs';
import * as c from './check.mjs';

await c.run('ai openai-compatible', (backend) => {
  const model = (apiKey = c.key, id = c.alias) =>
    createOpenAICompatible({
      name: 'service',
      baseURL: `${c.url}/v1`,
      apiKey,
      headers: { 'X-Claude-Backend': backend },
      includeUsage: true,
      supportsStructuredOutputs: true,
      // Otherwise the client fetches a picture itself.
      supportedUrls: () => ({ 'image/*': [/^https:/] }),
    })(id);
  return checks(backend, model, { service: { reasoningEffort: 'high' } });
});
