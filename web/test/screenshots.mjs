// The pictures of docs/dashboard.md. What they show is real: requests on both paths, a
// task that asks, a comparison; only the model behind it all is the simulator, which Go
// tells how long to take.
import { call, desktop, later, launch, message, PATIENCE, phone, settled, signIn, stand } from './stand.mjs';

const LENGTH = Number(process.env.SECONDS ?? 150);
const { url, admin } = stand;

const make = async (body) => JSON.parse((await call('/admin/v1/keys', body, { key: admin })).text);
const set = (body) => call('/admin/v1/budgets', body, { key: admin, method: 'PUT' });

const bot = await make({
  name: 'triage',
  project_id: 'support',
  profile: 'enterprise',
  requests_per_minute: 0,
  tokens_per_minute: 200_000,
});
const nightly = await make({
  name: 'nightly',
  project_id: 'research',
  profile: 'enterprise',
  requests_per_minute: 0,
  concurrent_requests: 4,
  expires_in_seconds: 90 * 86_400,
});
const limited = await make({ name: 'trial', project_id: 'support', profile: 'free', requests_per_minute: 2 });
await set({ owner_kind: 'project', owner_id: 'shop', period: 'month', unit: 'usd', hard: 300_000, soft_percent: 80 });
await set({ owner_kind: 'project', owner_id: 'research', period: 'day', unit: 'usd', hard: 2_000_000, soft_percent: 75 });

// A number that is always the same one: what is asked doesn't depend on the time.
let state = 7;
const random = () => {
  state = (state * 48_271) % 2_147_483_647;
  return state / 2_147_483_647;
};
const pick = (list) => list[Math.floor(random() * list.length)];

const prompt = () => `Sum up ticket ${Math.floor(random() * 900) + 100}.`;

async function one() {
  const model = pick(['haiku', 'haiku', 'haiku', 'sonnet', 'sonnet', 'opus']);
  const backend = pick(['cli', 'cli', 'direct']);
  const key = pick([stand.key, stand.key, bot.key, nightly.key]);
  const text = random() < 0.03 ? 'What? [[error=400]]' : prompt();
  const what = random();
  if (what < 0.45) return message(text, { model, backend, key });
  const messages = [{ role: 'user', content: text }];
  if (what < 0.8) return call('/v1/chat/completions', { model, max_tokens: 500, messages }, { key, backend });
  if (what < 0.9) return call('/v1/responses', { model: 'claude-haiku-5-5', input: text }, { key, backend: 'direct' });
  if (what < 0.97)
    return call('/v1/process', { provider: 'anthropic', model_name: model, messages, use_cli: backend === 'cli' }, { key });
  return message(text, { key: limited.key, backend: 'direct' });
}

let going = true;
/** Somewhat more traffic in the middle than at the ends. */
async function caller(i) {
  const begun = Date.now();
  while (going) {
    await one();
    const part = ((Date.now() - begun) / 1000 / LENGTH) * Math.PI * 3;
    await new Promise((resume) => setTimeout(resume, 250 + 900 * (1 + Math.sin(part + i / 3)) * random()));
  }
}

const shot = async (page, name) => page.screenshot({ path: `${stand.folder}/dashboard-${name}.png` });
const show = async (page, path) => {
  await page.goto(`${url}/dashboard${path}`);
  await settled(page);
  await page.evaluate(() => document.fonts.ready);
  await page.waitForTimeout(2500); // what comes by the stream is there, and charts are drawn
};

const browser = await launch();
const open = async (options) => {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  await signIn(page);
  return page;
};

const callers = [0, 1, 2, 3].map(caller);
await later('Write down what was done this week.', { allow_tools: ['Write'] });
await new Promise((resume) => setTimeout(resume, LENGTH * 1000));
const task = await later('Find out why the tests of the cart fail.', { allow_tools: [], approval: 'ask' });

const light = await open({ ...desktop, viewport: { width: 1360, height: 900 } });
await show(light, '');
await shot(light, 'overview-light');
await show(light, '/requests');
await light.getByRole('button', { name: 'Pause' }).click();
await light.locator('tbody button').filter({ hasText: '/v1/chat' }).nth(2).click();
await light.waitForTimeout(500);
await shot(light, 'request-light');
await show(light, '/latency');
await shot(light, 'latency-light');
await show(light, '/workers');
await shot(light, 'workers-light');
await show(light, '/spend');
await shot(light, 'spend-light');
await show(light, '/keys');
await shot(light, 'keys-light');
await show(light, `/tasks/${task}`);
await shot(light, 'task-light');

const compare = async (page, name) => {
  await show(page, '/playground');
  await page.getByRole('group', { name: 'What to try' }).getByText('Compare').click();
  await page.getByLabel('As the key').selectOption({ label: 'checkout · shop · enterprise' });
  await page.getByLabel('Prompt', { exact: true }).fill('Name a river that runs north.');
  await page.getByRole('button', { name: 'Compare' }).click();
  for (const title of ['Cold', 'Warm', 'Direct'])
    await page.getByRole('region', { name: title, exact: true }).getByText('done', { exact: true }).waitFor();
  await page.waitForTimeout(500);
  await shot(page, name);
};

const dark = await open({ ...desktop, viewport: { width: 1360, height: 900 }, colorScheme: 'dark' });
await show(dark, '');
await shot(dark, 'overview-dark');

const small = await open({ ...phone, deviceScaleFactor: 2 });
await show(small, '');
await shot(small, 'overview-phone');
await show(small, '/requests');
await small.getByRole('button', { name: 'Pause' }).click();
await shot(small, 'requests-phone');
await small.getByRole('button', { name: 'Menu' }).tap();
await small.waitForTimeout(400);
await shot(small, 'menu-phone');

going = false;
await Promise.all(callers);
await compare(dark, 'playground-dark');
await call(`/v1/tasks/${task}`, undefined, { method: 'DELETE' });
await browser.close();
