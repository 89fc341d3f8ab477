// What the tests and the screenshots have in common: a browser, a session in it, and
// calls of the service. Go starts the service and says in STAND where it is.
import { chromium } from 'playwright-core';

/** @type {{url: string, admin: string, key: string, control: string, browser: string, folder: string}} */
export const stand = JSON.parse(process.env.STAND ?? '{}');

/** How long one thing may take. It is long, because a busy machine makes each step slow. */
export const PATIENCE = 30_000;

export const views = [
  ['Overview', '/dashboard'],
  ['Requests', '/dashboard/requests'],
  ['Latency', '/dashboard/latency'],
  ['Workers', '/dashboard/workers'],
  ['Tasks', '/dashboard/tasks'],
  ['Playground', '/dashboard/playground'],
  ['Spend', '/dashboard/spend'],
  ['Keys', '/dashboard/keys'],
  ['Audit', '/dashboard/audit'],
];

export const launch = () =>
  chromium.launch({
    executablePath: stand.browser,
    args: [
      // Chromium refuses to run as root in its sandbox; it opens nothing but our own page.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
      '--disable-dev-shm-usage',
    ],
  });

export const desktop = { viewport: { width: 1360, height: 850 }, locale: 'en-GB', timezoneId: 'UTC' };
export const phone = { ...desktop, viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true };

/** signIn opens the page and signs in by its form. */
export async function signIn(page, key = stand.admin) {
  await page.goto(`${stand.url}/dashboard`);
  await page.getByLabel('Admin key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
}

/** settled waits until a view has what it shows: nothing loads any more. */
export async function settled(page) {
  await page.getByRole('heading', { level: 1 }).waitFor();
  await page.locator('.waiting').first().waitFor({ state: 'detached' });
}

/** call asks the service as a program does. */
export async function call(path, body, { key = stand.key, method = body === undefined ? 'GET' : 'POST', backend } = {}) {
  const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
  if (backend) headers['X-Claude-Backend'] = backend;
  const response = await fetch(stand.url + path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, text };
}

export const message = (text, options = {}) =>
  call(
    '/v1/messages',
    { model: options.model ?? 'haiku', max_tokens: 500, stream: options.stream, messages: [{ role: 'user', content: text }] },
    options,
  );

/** control asks Go for what only it can do: stop the service, and start it again. */
export async function control(what) {
  const response = await fetch(`${stand.control}/${what}`, { method: 'POST' });
  if (!response.ok) throw new Error(`${what}: ${await response.text()}`);
}

/** later queues a task and gives its id. */
export async function later(description, more = {}) {
  const { status, text } = await call('/v1/task', { description, model: 'haiku', async: true, ...more });
  if (status !== 202) throw new Error(`a task isn't queued: ${status} ${text}`);
  return JSON.parse(text).id;
}
