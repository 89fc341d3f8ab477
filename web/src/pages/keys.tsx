import { useState } from 'preact/hooks';
import { type Key, send } from '../api';
import * as format from '../format';
import { useLoad } from '../load';
import { session } from '../session';
import { useStore } from '../store';
import {
  Ago,
  Badge,
  Button,
  Card,
  Choice,
  type Column,
  Confirm,
  Copy,
  Dialog,
  Empty,
  Failure,
  Field,
  say,
  Table,
  useWork,
  Waiting,
} from '../ui';

type State = 'active' | 'expired' | 'revoked';

function stateOf(key: Key): State {
  if (key.revoked_at) return 'revoked';
  return key.expires_at && Date.parse(key.expires_at) <= Date.now() ? 'expired' : 'active';
}

const nameOf = (key: Key) => key.name || key.id;

/** What is done with a key; its text is there once, when the service has just made it. */
type Doing = { what: 'create' } | { what: 'rotate' | 'revoke'; key: Key } | { what: 'show'; name: string; text: string };

export function Keys() {
  const { data, error, loading, reload } = useLoad<{ keys: Key[] | null }>('/keys', 5000);
  const who = useStore(session);
  const [shown, setShown] = useState<'active' | 'all'>('active');
  const [doing, setDoing] = useState<Doing | null>(null);
  const all = data?.keys ?? [];
  const keys = all.filter((key) => shown === 'all' || stateOf(key) === 'active');
  const columns: Column<Key>[] = [
    {
      head: 'Key',
      wide: true,
      by: nameOf,
      cell: (key) => (
        <span class="row-title">
          <span class="path clip">{nameOf(key)}</span>
          <span class="sub">
            <code>{key.prefix}…</code>
          </span>
        </span>
      ),
    },
    {
      head: 'State',
      tight: true,
      by: stateOf,
      cell: (key) => {
        const state = stateOf(key);
        return (
          <span class="row">
            <Badge tone={state === 'active' ? 'good' : state === 'expired' ? 'warn' : 'neutral'} dot>
              {state}
            </Badge>
            {key.admin && <Badge tone="accent">admin</Badge>}
          </span>
        );
      },
    },
    {
      head: 'Project',
      tight: true,
      by: (key) => key.project_id,
      cell: (key) => (
        <>
          {key.project_id || format.NONE}
          <span class="sub">{key.admin ? '' : key.profile}</span>
        </>
      ),
    },
    {
      head: 'Limits',
      wide: true,
      cell: (key) => {
        const list = [
          key.limits.requests_per_minute ? `${format.compact(key.limits.requests_per_minute)} requests/min` : '',
          key.limits.tokens_per_minute ? `${format.compact(key.limits.tokens_per_minute)} tokens/min` : '',
          key.limits.concurrent_requests ? `${format.compact(key.limits.concurrent_requests)} at once` : '',
        ].filter(Boolean);
        return key.admin ? format.NONE : list.join(', ') || 'none';
      },
    },
    {
      head: 'Today',
      num: true,
      by: (key) => key.spent?.today_micro_usd ?? 0,
      // An admin key generates nothing, and the ledger is all that knows of use.
      cell: (key) =>
        key.admin ? (
          format.NONE
        ) : (
          <>
            {format.money(key.spent?.today_micro_usd)}
            <span class="sub">{format.compact(key.spent?.today_tokens)} tokens</span>
          </>
        ),
    },
    {
      head: 'Last used',
      tight: true,
      by: (key) => key.last_used_at ?? '',
      cell: (key) => (key.admin ? format.NONE : format.since(key.last_used_at)),
    },
    {
      head: 'Ends',
      tight: true,
      by: (key) => key.revoked_at ?? key.expires_at ?? '9',
      cell: (key) => (
        <>
          {key.revoked_at ? <Ago at={key.revoked_at} /> : key.expires_at ? <Ago at={key.expires_at} /> : 'never'}
          {key.replaced_until && Date.parse(key.replaced_until) > Date.now() && (
            <span class="sub">
              former text ends <Ago at={key.replaced_until} />
            </span>
          )}
        </>
      ),
    },
    {
      head: 'Actions',
      tight: true,
      cell: (key) =>
        stateOf(key) === 'active' ? (
          <span class="row">
            <Button small aria-label={`Rotate ${nameOf(key)}`} onClick={() => setDoing({ what: 'rotate', key })}>
              Rotate
            </Button>
            <Button small kind="quiet" aria-label={`Revoke ${nameOf(key)}`} onClick={() => setDoing({ what: 'revoke', key })}>
              Revoke
            </Button>
          </span>
        ) : (
          format.NONE
        ),
    },
  ];
  const done = () => {
    setDoing(null);
    reload();
  };
  return (
    <div class="stack">
      <div class="toolbar">
        <Choice
          label="Show"
          value={shown}
          onChange={setShown}
          options={[
            ['active', 'Active'],
            ['all', 'All'],
          ]}
        />
        <div class="end">
          <Button kind="primary" icon="plus" onClick={() => setDoing({ what: 'create' })}>
            Create a key
          </Button>
        </div>
      </div>
      {error && <Failure error={error} retry={reload} />}
      <Card class="flush">
        {loading && <Waiting />}
        {data && keys.length === 0 && (
          <Empty title="There are no keys.">Create one for each program that calls the service.</Empty>
        )}
        {keys.length > 0 && (
          <Table
            caption="Keys"
            columns={columns}
            rows={keys}
            rowKey={(key) => key.id}
            rowClass={(key) => (stateOf(key) === 'active' ? '' : 'faded')}
          />
        )}
      </Card>
      {doing?.what === 'create' && (
        <Create
          onClose={() => setDoing(null)}
          onMade={(name, text) => {
            setDoing({ what: 'show', name, text });
            reload();
          }}
        />
      )}
      {doing?.what === 'rotate' && (
        <Rotate
          target={doing.key}
          onClose={() => setDoing(null)}
          onMade={(text) => {
            setDoing({ what: 'show', name: nameOf(doing.key), text });
            reload();
          }}
        />
      )}
      {doing?.what === 'revoke' && (
        <Confirm
          title={`Revoke ${nameOf(doing.key)}?`}
          action="Revoke it"
          onClose={() => setDoing(null)}
          onConfirm={async () => {
            await send('DELETE', `/keys/${encodeURIComponent(doing.key.id)}`);
            say(`${nameOf(doing.key)} is revoked.`);
            done();
          }}
        >
          <p>Whoever uses it is refused from now on. That can’t be taken back.</p>
          {doing.key.id === who?.key_id && <p>It is the key that you have signed in with: you are signed out.</p>}
        </Confirm>
      )}
      {doing?.what === 'show' && <Show name={doing.name} text={doing.text} onClose={done} />}
    </div>
  );
}

const lifetimes: [string, string][] = [
  ['', 'never'],
  ['86400', 'in a day'],
  ['604800', 'in a week'],
  ['2592000', 'in 30 days'],
  ['7776000', 'in 90 days'],
  ['31536000', 'in a year'],
];

/** number gives what a field holds; an empty one leaves it to the service. */
const number = (text: string) => (text.trim() === '' ? undefined : Number(text));

function Create({ onClose, onMade }: { onClose: () => void; onMade: (name: string, text: string) => void }) {
  const projects = useLoad<{ projects: { id: string }[] | null }>('/projects');
  const profiles = useLoad<{ profiles: { name: string }[] | null }>('/profiles');
  const [form, setForm] = useState({
    name: '',
    project: 'default',
    profile: 'pro',
    admin: false,
    expires: '',
    requests: '',
    tokens: '',
    concurrent: '',
    budget: '',
    period: 'month',
  });
  const set = (change: Partial<typeof form>) => setForm({ ...form, ...change });
  const work = useWork();
  const wrong = (name: string) => (work.error?.param?.startsWith(name) ? work.error.message : undefined);
  const submit = (event: Event) => {
    event.preventDefault();
    void work.run(async () => {
      const limit = number(form.budget);
      const made = await send<{ key: string }>('POST', '/keys', {
        name: form.name,
        admin: form.admin,
        expires_in_seconds: number(form.expires),
        ...(form.admin
          ? {}
          : {
              project_id: form.project,
              profile: form.profile,
              requests_per_minute: number(form.requests),
              tokens_per_minute: number(form.tokens),
              concurrent_requests: number(form.concurrent),
              budgets: limit === undefined ? undefined : [{ period: form.period, unit: 'usd', hard: Math.round(limit * 1e6) }],
            }),
      });
      onMade(form.name || 'the new key', made.key);
    });
  };
  return (
    <Dialog title="Create a key" onClose={onClose}>
      <form class="form" onSubmit={submit}>
        <Field label="Name" hint="For people: what calls with it" error={wrong('name')}>
          {(given) => (
            <input
              {...given}
              value={form.name}
              maxLength={128}
              autocomplete="off"
              onInput={(event) => set({ name: event.currentTarget.value })}
            />
          )}
        </Field>
        <Field label="Ends" error={wrong('expires_in_seconds')}>
          {(given) => (
            <select {...given} value={form.expires} onChange={(event) => set({ expires: event.currentTarget.value })}>
              {lifetimes.map(([value, name]) => (
                <option key={value} value={value}>
                  {name}
                </option>
              ))}
            </select>
          )}
        </Field>
        <label class="check whole">
          <input type="checkbox" checked={form.admin} onChange={(event) => set({ admin: event.currentTarget.checked })} />
          It administers the service, and generates nothing
        </label>
        {!form.admin && (
          <>
            <Field label="Project" error={wrong('project_id')}>
              {(given) => (
                <>
                  <input
                    {...given}
                    list="projects"
                    required
                    value={form.project}
                    autocomplete="off"
                    onInput={(event) => set({ project: event.currentTarget.value })}
                  />
                  <datalist id="projects">
                    {(projects.data?.projects ?? []).map((project) => (
                      <option key={project.id} value={project.id} />
                    ))}
                  </datalist>
                </>
              )}
            </Field>
            <Field label="Profile" hint="What its tasks may do" error={wrong('profile')}>
              {(given) => (
                <select {...given} value={form.profile} onChange={(event) => set({ profile: event.currentTarget.value })}>
                  {(profiles.data?.profiles ?? [{ name: 'pro' }]).map((profile) => (
                    <option key={profile.name} value={profile.name}>
                      {profile.name}
                    </option>
                  ))}
                </select>
              )}
            </Field>
            <Limit
              label="Requests a minute"
              hint="Empty: 100"
              error={wrong('requests_per_minute')}
              value={form.requests}
              onValue={(value) => set({ requests: value })}
            />
            <Limit
              label="Tokens a minute"
              hint="Empty: no limit"
              error={wrong('tokens_per_minute')}
              value={form.tokens}
              onValue={(value) => set({ tokens: value })}
            />
            <Limit
              label="Requests at once"
              hint="Empty: no limit"
              error={wrong('concurrent_requests')}
              value={form.concurrent}
              onValue={(value) => set({ concurrent: value })}
            />
            <Field label="Budget in US dollars" hint="Empty: none" error={wrong('budgets')}>
              {(given) => (
                <span class="pair">
                  <input
                    {...given}
                    type="number"
                    min="0"
                    step="any"
                    inputMode="decimal"
                    value={form.budget}
                    onInput={(event) => set({ budget: event.currentTarget.value })}
                  />
                  <select
                    aria-label="Budget for each"
                    value={form.period}
                    onChange={(event) => set({ period: event.currentTarget.value })}
                  >
                    <option value="day">a day</option>
                    <option value="week">a week</option>
                    <option value="month">a month</option>
                  </select>
                </span>
              )}
            </Field>
          </>
        )}
        {work.error && <Failure error={work.error} />}
        <footer class="dialog-foot">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" kind="primary" disabled={work.busy}>
            Create it
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}

function Rotate({ target, onClose, onMade }: { target: Key; onClose: () => void; onMade: (text: string) => void }) {
  const [grace, setGrace] = useState('86400');
  const work = useWork();
  const submit = (event: Event) => {
    event.preventDefault();
    void work.run(async () => {
      const made = await send<{ key: string }>('POST', `/keys/${encodeURIComponent(target.id)}/rotate`, {
        grace_seconds: Number(grace),
      });
      onMade(made.key);
    });
  };
  return (
    <Dialog title={`Rotate ${nameOf(target)}`} onClose={onClose}>
      <form class="form" onSubmit={submit}>
        <p class="prose whole">It gets another text, and keeps its limits, its budgets and what it has spent.</p>
        <Field label="The former text" error={work.error?.message} class="whole">
          {(given) => (
            <select {...given} value={grace} onChange={(event) => setGrace(event.currentTarget.value)}>
              <option value="0">ends now</option>
              <option value="3600">is good for another hour</option>
              <option value="86400">is good for another day</option>
              <option value="604800">is good for another week</option>
            </select>
          )}
        </Field>
        <footer class="dialog-foot">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" kind="primary" disabled={work.busy}>
            Rotate it
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}

/** Limit asks for a whole number. */
function Limit(props: { label: string; hint: string; error?: string; value: string; onValue: (value: string) => void }) {
  return (
    <Field label={props.label} hint={props.hint} error={props.error}>
      {(given) => (
        <input
          {...given}
          type="number"
          min="0"
          inputMode="numeric"
          value={props.value}
          onInput={(event) => props.onValue(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

function Show({ name, text, onClose }: { name: string; text: string; onClose: () => void }) {
  return (
    <Dialog title={`The text of ${name}`} onClose={onClose} keep>
      <p class="prose">Copy it now: the service keeps no copy and can’t show it again.</p>
      <div class="secret">
        <code data-testid="new-key">{text}</code>
        <Copy text={text} />
      </div>
      <footer class="dialog-foot">
        <Button kind="primary" onClick={onClose}>
          I have it
        </Button>
      </footer>
    </Dialog>
  );
}
