// The page in a real browser against the real service. Each check prints a line of JSON;
// the Go test that starts this knows which checks there are.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { call, control, desktop, later, launch, message, PATIENCE, phone, settled, signIn, stand, views } from './stand.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const browser = await launch();

/** What the browser complained of, of all pages: the policy's violations above all. */
const complaints = [];
/** While the service is down on purpose, calls fail. */
let down = false;

async function open(options = desktop) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on('pageerror', (error) => complaints.push(`error: ${error.stack ?? error}`));
  page.on('console', (line) => {
    if (!['error', 'warning'].includes(line.type())) return;
    const text = line.text();
    // That nobody is signed in, and that a field is wrong, are answers like others.
    if (/status of (400|401|404|409|403)/.test(text)) return;
    if (down && /net::ERR_|Failed to load resource/.test(text)) return;
    complaints.push(`${line.type()}: ${text} (${page.url()})`);
  });
  return page;
}

/** A page that is signed in, for the checks that need no other. */
const page = await open();

const visit = async (on, path) => {
  await on.goto(stand.url + path);
  await settled(on);
};
const ended = (on, status) => on.getByRole('row').filter({ has: on.getByText(status, { exact: true }) });
const row = (on, text) => on.getByRole('row').filter({ hasText: text });

/** barriers gives what axe finds wrong. */
async function barriers(on, where) {
  await on.evaluate(axe);
  // What is still coming in has colours of its own.
  await on.evaluate(() =>
    Promise.all(
      document
        .getAnimations()
        .filter((a) => a.effect?.getTiming().iterations !== Infinity)
        .map((a) => a.finished),
    ),
  );
  const { violations } = await on.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }),
  );
  return violations.map(
    (v) => `${where}: ${v.id}: ${v.help}: ${v.nodes.map((n) => `${n.html} ${n.any.map((a) => a.message)}`).join(' | ')}`,
  );
}

const narrow = (on) => on.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);

const checks = {
  async 'sign-in'() {
    await page.goto(`${stand.url}/dashboard/keys`);
    await page.getByLabel('Admin key').fill('cc_0000000000000000000000000000000000000000');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.locator('.about.wrong').waitFor();
    assert.match(await page.locator('.about.wrong').innerText(), /key/i);
    // A caller's key signs nobody in.
    await page.getByLabel('Admin key').fill(stand.key);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.locator('.about.wrong', { hasText: 'admin key' }).waitFor();
    assert.equal((await page.context().cookies()).length, 0);
    await page.getByLabel('Admin key').fill(stand.admin);
    await page.getByRole('button', { name: 'Sign in' }).click();
    // Whoever wanted another view than the first gets that.
    await page.getByRole('heading', { level: 1, name: 'Keys' }).waitFor();
    const [cookie] = await page.context().cookies(`${stand.url}/admin/v1`);
    assert.equal(cookie.httpOnly, true);
    assert.equal(cookie.sameSite, 'Strict');
    assert.equal(cookie.path, '/admin/v1');
    assert.ok(!cookie.value.includes(stand.admin), 'the cookie is the key');
    const kept = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.body.innerHTML);
    assert.ok(!kept.includes(stand.admin), 'the key is kept in the page');
  },

  async 'every view'() {
    await visit(page, '/dashboard');
    for (const [name, path] of views) {
      await page.getByRole('navigation').getByRole('link', { name }).click();
      await page.getByRole('heading', { level: 1, name }).waitFor();
      await settled(page);
      assert.equal(new URL(page.url()).pathname, path);
      assert.equal(await page.title(), `${name} · Claude Code API`);
      assert.equal(await page.locator('.failure').count(), 0, `${name}: ${await page.locator('.failure').allInnerTexts()}`);
    }
    await page.goto(`${stand.url}/dashboard/nowhere`);
    await page.getByText('There is no such page.').waitFor();
  },

  async 'real data'() {
    await visit(page, '/dashboard');
    await page.getByText('all is well').waitFor();
    await becomes(() => page.locator('.u-wrap').count(), 4, 'all charts are drawn');
    await page.getByRole('region', { name: 'Services' }).getByText('cli').first().waitFor();
    await page.getByRole('list', { name: 'Workers by state' }).locator('li').first().waitFor();
    await row(page, '/v1/messages').first().waitFor();
    await visit(page, '/dashboard/latency');
    for (const backend of ['cli', 'direct']) await row(page, `${backend}, claude-haiku-5-5`).first().waitFor();
    await visit(page, '/dashboard/workers');
    await page
      .getByRole('table')
      .getByText(/idle|held/)
      .first()
      .waitFor();
    await until(async () => /MiB/.test(await page.getByRole('table').innerText()), 'a worker’s memory is there');
    await visit(page, '/dashboard/spend');
    await until(async () => /\$0\.\d/.test(await row(page, 'shop').innerText()), 'what shop has spent is there');
    for (const by of ['Key', 'Model', 'Backend', 'Day']) {
      await page.getByRole('group', { name: 'By' }).getByText(by, { exact: true }).click();
      await page.getByRole('columnheader', { name: by }).waitFor();
    }
    await page.getByText('project, a month').first().waitFor();
    await visit(page, '/dashboard/audit');
    await row(page, 'key.created').first().waitFor();
    await page.getByLabel('Action').selectOption('key.created');
    await row(page, 'session.').first().waitFor({ state: 'detached' });
    await row(page, 'key.created').first().waitFor();
  },

  async 'live request'() {
    await visit(page, '/dashboard/requests');
    const answer = message('[[delay=500ms interval=400ms tokens=12]]', { model: 'opus', backend: 'direct', stream: true });
    const running = row(page, 'running').filter({ hasText: '/v1/messages' });
    await running.getByRole('button').click();
    const panel = page.getByRole('dialog');
    await panel.getByText('so far').waitFor();
    await panel.getByText('running: generate').waitFor();
    assert.equal((await answer).status, 200);
    // The panel goes on with the request, to its end.
    await panel.locator('.waterfall .total', { hasText: 'total' }).waitFor();
    for (const stage of ['first byte', 'generate', 'record'])
      await panel.locator('.waterfall').getByText(stage, { exact: true }).waitFor();
    await panel.getByText('200', { exact: true }).waitFor();
    await page.keyboard.press('Escape');
    await panel.waitFor({ state: 'detached' });
  },

  async 'filter requests'() {
    await message('[[error=400]]', { backend: 'direct' });
    await visit(page, '/dashboard/requests');
    await ended(page, '400').first().waitFor();
    const all = await page.getByRole('row').count();
    await page.getByLabel('Status').selectOption('4xx');
    await ended(page, '200').first().waitFor({ state: 'detached' });
    await until(async () => (await page.getByRole('row').count()) < all, 'others are left out');
    await page.getByRole('button', { name: 'Clear' }).click();
    await ended(page, '200').first().waitFor();
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByText('paused').waitFor();
    await message('one while nobody looks');
    await page.getByRole('button', { name: 'Go on' }).click();
    await page.getByText('paused').waitFor({ state: 'detached' });
  },

  async 'a key’s life'() {
    await visit(page, '/dashboard/keys');
    await page.getByRole('button', { name: 'Create a key' }).click();
    await page.getByLabel('Name').fill('from the page');
    await page.getByLabel('Project').fill('shop');
    await page.getByLabel('Requests a minute').fill('50');
    await page.getByRole('button', { name: 'Create it' }).click();
    const made = await page.getByTestId('new-key').innerText();
    assert.match(made, /^cc_[0-9a-f]{40}$/);
    // It is shown once: Escape, also twice, doesn't take it away.
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    await page.getByTestId('new-key').waitFor();
    await page.getByRole('button', { name: 'I have it' }).click();
    await row(page, 'from the page').getByText('50 requests/min').waitFor();
    assert.ok(!(await page.content()).includes(made), 'the key’s text is still in the page');
    assert.equal((await message('hello', { key: made })).status, 200);

    await page.getByRole('button', { name: 'Rotate from the page' }).click();
    await page.getByLabel('The former text').selectOption('0');
    await page.getByRole('button', { name: 'Rotate it' }).click();
    const other = await page.getByTestId('new-key').innerText();
    await page.getByRole('button', { name: 'I have it' }).click();
    assert.notEqual(other, made);
    assert.equal((await message('hello', { key: other })).status, 200);
    await until(async () => (await message('hello', { key: made })).status === 401, 'the former text is refused');

    await page.getByRole('button', { name: 'Revoke from the page' }).click();
    await page.getByRole('button', { name: 'Revoke it' }).click();
    await row(page, 'from the page').waitFor({ state: 'detached' });
    await until(async () => (await message('hello', { key: other })).status === 401, 'the revoked key is refused');
    await page.getByRole('group', { name: 'Show' }).getByText('All').click();
    await row(page, 'from the page').getByText('revoked').waitFor();
  },

  async 'what is wrong with a key'() {
    await visit(page, '/dashboard/keys');
    await page.getByRole('button', { name: 'Create a key' }).click();
    await page.getByLabel('Project').fill('not a project\u0007!');
    await page.getByRole('button', { name: 'Create it' }).click();
    await page.getByRole('dialog').getByRole('alert').waitFor();
    await page.keyboard.press('Escape');
  },

  async 'a budget’s life'() {
    await visit(page, '/dashboard/spend');
    await page.getByRole('button', { name: 'Set a budget' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Project').selectOption('shop');
    await dialog.getByLabel('For each').selectOption('week');
    await dialog.getByLabel('At the most, in US dollars').fill('25');
    await dialog.getByRole('button', { name: 'Set it' }).click();
    const line = page.getByRole('listitem').filter({ hasText: 'project, a week' });
    await line.getByText('of $25.00').or(line.getByText('of US$25.00')).waitFor();
    await line.getByRole('button', { name: /^Remove/ }).click();
    await page.getByRole('button', { name: 'Remove it' }).click();
    await line.waitFor({ state: 'detached' });
  },

  async 'an approval lets a task go on'() {
    const id = await later('[[tool=Bash input={"command":"echo yes > answer.txt"}]] [[then]] [[text=it is written]]', {
      allow_tools: [],
      approval: 'ask',
    });
    await visit(page, '/dashboard/tasks');
    await row(page, id).getByText('asks you').waitFor();
    await page.getByRole('navigation').getByTitle('approvals that wait for an answer').waitFor();
    await row(page, id).getByRole('link').click();
    const question = page.getByRole('region', { name: 'May it use Bash?' });
    await question.getByText('echo yes > answer.txt').waitFor();
    await question.getByRole('button', { name: 'Allow' }).click();
    const log = page.getByRole('list', { name: 'Events of the task' });
    await log.getByText('allowed by a person').waitFor();
    await log.getByText('completed', { exact: true }).waitFor();
    await log.getByText('it is written').first().waitFor();
    await question.waitFor({ state: 'detached' });
    const artifact = page.getByRole('link', { name: 'answer.txt' });
    const [download] = await Promise.all([page.waitForEvent('download'), artifact.click()]);
    assert.equal(await readFile(await download.path(), 'utf8'), 'yes\n');
  },

  async 'a refusal is told to the model'() {
    const id = await later('[[tool=Bash input={"command":"echo no > answer.txt"}]] [[then]]', {
      allow_tools: [],
      approval: 'ask',
    });
    await visit(page, `/dashboard/tasks/${id}`);
    await page.getByLabel('What the model is told of a refusal').fill('not today');
    await page.getByRole('button', { name: 'Deny' }).click();
    await page.getByText('denied by a person: not today').waitFor();
    await page.getByRole('list', { name: 'Events of the task' }).getByText('completed', { exact: true }).waitFor();
    assert.equal(await page.getByRole('link', { name: 'answer.txt' }).count(), 0);
  },

  async 'a task is ended'() {
    const id = await later('[[tool=Bash input={"command":"sleep 60"}]]', { allow_tools: ['Bash'] });
    await visit(page, `/dashboard/tasks/${id}`);
    await page.getByText('sleep 60').nth(1).waitFor();
    await page.getByRole('button', { name: 'End it' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'End it' }).click();
    await page.getByText('cancelled').first().waitFor();
    await page.getByRole('button', { name: 'Forget it' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Forget it' }).click();
    await page.getByRole('heading', { level: 1, name: 'Tasks' }).waitFor();
    await row(page, id).waitFor({ state: 'detached' });
  },

  async 'a worker is ended'() {
    await visit(page, '/dashboard/workers');
    const first = page
      .getByRole('row')
      .filter({ hasText: /idle|held/ })
      .first();
    const pid = /pid \d+/.exec(await first.innerText())[0];
    await row(page, pid).getByRole('button').click();
    await page.getByRole('dialog').getByRole('button', { name: 'End it' }).click();
    await row(page, pid).waitFor({ state: 'detached' });
    await page.getByRole('row').filter({ hasText: /idle/ }).first().waitFor();
  },

  async 'playground: chat'() {
    await visit(page, '/dashboard/playground');
    await page.getByLabel('As the key').selectOption({ label: 'checkout · shop · enterprise' });
    await page.getByLabel('Prompt', { exact: true }).fill('[[interval=60ms tokens=20]]');
    await page.getByRole('button', { name: 'Send' }).click();
    const answer = page.locator('.answer .text');
    await answer.waitFor();
    const begun = (await answer.innerText()).length;
    await page.getByText('done', { exact: true }).waitFor();
    assert.ok((await answer.innerText()).length > begun, 'the answer came at once, not as a stream');
    for (const stage of ['first byte', 'generate', 'record'])
      await page.locator('.waterfall').getByText(stage, { exact: true }).waitFor();
    // What is stopped here is stopped there.
    await page.getByLabel('Prompt', { exact: true }).fill('[[interval=300ms tokens=200]]');
    await page.getByRole('button', { name: 'Send' }).click();
    await answer.waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByText('stopped', { exact: true }).waitFor();
    // An error is told, and the next prompt works.
    await page.getByLabel('Model').fill('no-such-model');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByRole('alert').waitFor();
  },

  async 'playground: compare'() {
    await visit(page, '/dashboard/playground');
    await page.getByRole('group', { name: 'What to try' }).getByText('Compare').click();
    await page.getByLabel('As the key').selectOption({ label: 'checkout · shop · enterprise' });
    await page.getByLabel('Prompt', { exact: true }).fill('one prompt, three ways [[tokens=20]]');
    await page.getByRole('button', { name: 'Compare' }).click();
    for (const name of ['Cold', 'Warm', 'Direct']) {
      await page.getByRole('region', { name, exact: true }).getByText('done', { exact: true }).waitFor();
    }
    const bind = async (name) =>
      milliseconds(
        await page
          .getByRole('region', { name, exact: true })
          .locator('.waterfall li', { hasText: 'bind' })
          .locator('.took')
          .innerText(),
      );
    assert.ok(
      (await bind('Cold')) > 2 * (await bind('Warm')),
      `a process was started for the cold one only: ${await bind('Cold')} and ${await bind('Warm')}`,
    );
    assert.equal(await page.getByRole('region', { name: 'Side by side' }).getByRole('img').count(), 3);
    await page.getByRole('region', { name: 'Warm', exact: true }).getByText('times as fast').waitFor();
  },

  async 'playground: task'() {
    await visit(page, '/dashboard/playground');
    await page.getByRole('group', { name: 'What to try' }).getByText('Task').click();
    await page.getByLabel('As the key').selectOption({ label: 'checkout · shop · enterprise' });
    await page
      .getByLabel('What is to be done')
      .fill('[[tool=Bash input={"command":"echo here"}]] [[then]] [[text=the folder is empty]]');
    await page.getByRole('button', { name: 'Start' }).click();
    const question = page.getByRole('region', { name: 'May it use Bash?' });
    await question.getByText('echo here').waitFor();
    await question.getByRole('button', { name: 'Allow' }).click();
    await page.getByText('done', { exact: true }).waitFor();
    const log = page.getByRole('list', { name: 'Events of the task' });
    await log.getByText('allowed by a person').waitFor();
    await log.getByText('the folder is empty').first().waitFor();
    await page.getByRole('link', { name: 'All of it' }).click();
    await page.getByRole('list', { name: 'Events of the task' }).getByText('the folder is empty').first().waitFor();
  },

  async keyboard() {
    const keys = await open();
    const press = async (...list) => {
      for (const key of list) await keys.keyboard.press(key);
    };
    const focused = () =>
      keys.evaluate(() => document.activeElement?.getAttribute('aria-label') || document.activeElement?.textContent?.trim());
    await keys.goto(`${stand.url}/dashboard`);
    await keys.getByLabel('Admin key').waitFor();
    await keys.keyboard.type(stand.admin); // the field has the focus
    await press('Enter');
    await keys.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    await settled(keys);
    await press('Tab');
    await becomes(focused, 'Skip to the content', 'the way to the content is first');
    await press('Enter', 'Tab');
    await becomes(
      () => keys.evaluate(() => document.activeElement.closest('main') !== null),
      true,
      'the content is skipped to',
    );
    for (const [key, name] of [
      ['k', 'Keys'],
      ['r', 'Requests'],
      ['l', 'Latency'],
      ['w', 'Workers'],
      ['t', 'Tasks'],
      ['p', 'Playground'],
      ['s', 'Spend'],
      ['a', 'Audit'],
      ['o', 'Overview'],
    ]) {
      await press('g', key);
      await keys.getByRole('heading', { level: 1, name }).waitFor();
      await becomes(focused, name, 'the new view has the focus');
    }
    // A filter, and letters in it that are shortcuts elsewhere.
    await press('g', 'a', '/');
    await becomes(() => keys.evaluate(() => document.activeElement.tagName), 'SELECT', 'a filter has the focus');
    await press('Tab');
    await keys.keyboard.type('gk?d');
    await becomes(() => keys.getByLabel('Who').inputValue(), 'gk?d', 'letters are written');
    // A dialog keeps the focus, Escape closes it, and the focus is where it was.
    await visit(keys, '/dashboard/keys');
    await keys.getByRole('button', { name: 'Create a key' }).focus();
    await press('Enter');
    await keys.getByRole('dialog').waitFor();
    for (let i = 0; i < 20; i++) {
      await press('Tab');
      assert.ok(
        await keys.evaluate(
          () => document.activeElement === document.body || document.activeElement.closest('dialog') !== null,
        ),
        'the focus has left the dialog',
      );
    }
    await press('Escape');
    await keys.getByRole('dialog').waitFor({ state: 'detached' });
    await becomes(focused, 'Create a key', 'the focus is where it was');
    // A request is opened and closed, and a column sorted.
    await visit(keys, '/dashboard/requests');
    await keys.getByRole('button', { name: 'Pause' }).focus();
    await press('Enter');
    await keys.locator('tbody button').first().focus();
    const title = await focused();
    await press('Enter');
    await keys.getByRole('dialog').waitFor();
    await press('Escape');
    await keys.getByRole('dialog').waitFor({ state: 'detached' });
    await becomes(focused, title, 'the focus is where it was');
    await visit(keys, '/dashboard/latency');
    await keys.getByRole('button', { name: 'p95', exact: true }).focus();
    await press('Enter');
    await becomes(
      () => keys.getByRole('columnheader', { name: /^p95/ }).getAttribute('aria-sort'),
      'descending',
      'a column is sorted',
    );
    // Help, colours, and shortcuts that can be switched off.
    await press('?');
    await keys.getByRole('dialog').getByLabel('Single keys are shortcuts').uncheck();
    await press('Escape', 'g', 'k');
    await keys.getByRole('heading', { level: 1, name: 'Latency' }).waitFor();
    await keys.getByRole('button', { name: 'Shortcuts' }).focus();
    await press('Enter');
    await keys.getByRole('dialog').getByLabel('Single keys are shortcuts').check();
    await press('Escape');
    const before = await keys.evaluate(() => document.documentElement.dataset.theme);
    await keys.getByRole('heading', { level: 1 }).focus();
    await press('d');
    await until(
      async () => (await keys.evaluate(() => document.documentElement.dataset.theme)) !== before,
      'the colours change',
    );
    await keys.context().close();
  },

  async axe() {
    const found = [];
    const task = await later('[[tool=Bash input={"command":"ls"}]] [[then]]', { allow_tools: [], approval: 'ask' });
    for (const colorScheme of ['light', 'dark']) {
      const on = await open({ ...desktop, colorScheme });
      await on.goto(`${stand.url}/dashboard`);
      await on.getByLabel('Admin key').waitFor();
      found.push(...(await barriers(on, `${colorScheme} sign-in`)));
      await signIn(on);
      for (const [name, path] of [...views, ['a task', `/dashboard/tasks/${task}`]]) {
        await visit(on, path);
        if (name === 'a task') await on.getByRole('button', { name: 'Allow' }).waitFor();
        found.push(...(await barriers(on, `${colorScheme} ${name}`)));
      }
      for (const [path, button] of [
        ['/keys', 'Create a key'],
        ['/spend', 'Set a budget'],
        ['', 'Shortcuts'],
      ]) {
        await visit(on, `/dashboard${path}`);
        await on.getByRole('button', { name: button }).click();
        await on.getByRole('dialog').waitFor();
        found.push(...(await barriers(on, `${colorScheme} ${button}`)));
      }
      await visit(on, '/dashboard/requests');
      await on.locator('tbody button').first().click();
      await on.getByRole('dialog').waitFor();
      found.push(...(await barriers(on, `${colorScheme} a request`)));
      await on.context().close();
    }
    await call(`/v1/tasks/${task}`, undefined, { method: 'DELETE' });
    assert.deepEqual(found, []);
  },

  async phone() {
    const found = [];
    const on = await open(phone);
    await on.goto(`${stand.url}/dashboard`);
    await on.getByLabel('Admin key').waitFor();
    const wide = async (where) => {
      const [content, room] = await narrow(on);
      assert.ok(content <= room, `${where} is ${content} wide, in ${room}`);
    };
    await wide('sign-in');
    await signIn(on);
    for (const [name, path] of views) {
      await on.getByRole('button', { name: 'Menu' }).tap();
      await on.getByRole('dialog').getByRole('link', { name }).tap();
      await on.getByRole('dialog').waitFor({ state: 'detached' });
      await on.getByRole('heading', { level: 1, name }).waitFor();
      await settled(on);
      assert.equal(new URL(on.url()).pathname, path);
      await wide(name);
    }
    await on.getByRole('button', { name: 'Menu' }).tap();
    found.push(...(await barriers(on, 'phone, the menu')));
    await on.keyboard.press('Escape');
    await visit(on, '/dashboard/requests');
    found.push(...(await barriers(on, 'phone, requests')));
    await on.locator('tbody button').first().tap();
    await on.getByRole('dialog').getByText('Where the time went').waitFor();
    await wide('a request');
    await on.context().close();
    assert.deepEqual(found, []);
  },

  async 'colours and motion'() {
    const on = await open({ ...desktop, colorScheme: 'dark', reducedMotion: 'reduce' });
    await signIn(on);
    const theme = () => on.evaluate(() => document.documentElement.dataset.theme);
    await becomes(theme, 'dark', 'the page begins as the system is');
    await on.emulateMedia({ colorScheme: 'light' });
    await becomes(theme, 'light', 'the page follows the system');
    await on.getByRole('group', { name: 'Colours' }).getByText('Dark').click();
    await becomes(theme, 'dark', 'dark is chosen');
    await on.reload();
    await settled(on);
    await becomes(theme, 'dark', 'the choice is kept');
    await on.getByRole('button', { name: 'Shortcuts' }).click();
    assert.equal(await on.getByRole('dialog').evaluate((d) => getComputedStyle(d).animationName), 'none');
    await on.context().close();
  },

  /** What comes later finds its room kept: Chromium's own measure, of which 0.1 is called good. */
  async 'nothing jumps'() {
    const on = await open();
    await signIn(on);
    for (const [name, path] of views) {
      await on.goto(stand.url + path);
      await on.evaluate(() => {
        globalThis.shifts = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) if (!entry.hadRecentInput) globalThis.shifts += entry.value;
        }).observe({ type: 'layout-shift', buffered: true });
      });
      await settled(on);
      await on.waitForTimeout(1500);
      const shifts = await on.evaluate(() => globalThis.shifts);
      assert.ok(shifts < 0.1, `${name} has moved by ${shifts}`);
    }
    await on.context().close();
  },

  async 'the connection is lost'() {
    await visit(page, '/dashboard');
    down = true;
    await control('stop');
    await page.getByText('The connection to the service is lost.').waitFor();
    await page.getByText('offline').waitFor();
    await control('start');
    // By itself, and with the same session: it outlives the service.
    await page.getByText('The connection to the service is lost.').waitFor({ state: 'detached' });
    await page.getByText('all is well').waitFor();
    down = false;
    await message('one after the start');
    await row(page, '/v1/messages').first().waitFor();
  },

  async 'a session that ends'() {
    const made = JSON.parse(
      (
        await call(
          '/admin/v1/keys',
          { name: 'short-lived', project_id: 'shop', profile: 'pro', admin: true },
          { key: stand.admin },
        )
      ).text,
    );
    const on = await open();
    await signIn(on, made.key);
    await call(`/admin/v1/keys/${made.id}`, undefined, { key: stand.admin, method: 'DELETE' });
    await on.getByText('Your session has ended.').waitFor();
    await on.context().close();
  },

  async 'sign-out'() {
    await visit(page, '/dashboard');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Admin key').waitFor();
    assert.equal(await page.evaluate(async () => (await fetch('/admin/v1/overview')).status), 401);
    await page.reload();
    await page.getByLabel('Admin key').waitFor();
  },

  /** Last: nothing on any page broke the policy, threw, or complained in the console. */
  async 'nothing in the console'() {
    assert.deepEqual(complaints, []);
  },
};

function milliseconds(text) {
  const [number, unit] = text.split(/\s/);
  return Number(number.replace(/,/g, '')) * (unit === 's' ? 1000 : 1);
}

/** becomes waits for a value: the page draws a moment after what it hears of. */
async function becomes(read, want, what) {
  let got;
  await until(
    async () => {
      got = await read();
      return got === want;
    },
    () => `${what}: it is ${JSON.stringify(got)}, not ${JSON.stringify(want)}`,
  );
}

/** until waits for what no element tells of. */
async function until(is, what) {
  const end = Date.now() + PATIENCE;
  while (!(await is())) {
    assert.ok(Date.now() < end, `never: ${typeof what === 'function' ? what() : what}`);
    await new Promise((resume) => setTimeout(resume, 50));
  }
}

const only = process.env.CHECKS ? new RegExp(process.env.CHECKS) : /./;
for (const [name, check] of Object.entries(checks)) {
  if (!only.test(name)) continue;
  let error = '';
  try {
    await check();
  } catch (failure) {
    error = `${failure?.message ?? failure}`;
    await page.screenshot({ path: `${stand.folder}/${name.replace(/\W+/g, '-')}.png` }).catch(() => {});
  }
  process.stdout.write(`${JSON.stringify({ check: name, error })}\n`);
}
await browser.close();
