import { useState } from 'preact/hooks';
import { type ApiError, type AuditEvent, get, query } from '../api';
import * as format from '../format';
import { useLoad } from '../load';
import { Ago, Badge, Button, Card, type Column, Empty, Failure, say, Table, type Tone, Waiting } from '../ui';

interface Page {
  events: AuditEvent[] | null;
  next?: number | string | null;
}

const LIMIT = 50;

const actions = [
  'session.opened',
  'session.closed',
  'key.created',
  'key.updated',
  'key.rotated',
  'key.revoked',
  'project.set',
  'profile.set',
  'profile.deleted',
  'budget.set',
  'budget.removed',
  'task.approved',
  'task.denied',
  'task.cancelled',
  'worker.killed',
  'service.reloaded',
  'request.refused',
  'audit.dropped',
];

function tone(action: string): Tone {
  if (/refused|denied|dropped|failed/.test(action)) return 'warn';
  if (/revoked|removed|deleted|killed|cancelled/.test(action)) return 'bad';
  return /created|set|approved|opened/.test(action) ? 'good' : 'neutral';
}

export function Audit() {
  const [action, setAction] = useState('');
  const [actor, setActor] = useState('');
  const [asked, setAsked] = useState('');
  const path = `/audit${query({ limit: LIMIT, action, actor: asked })}`;
  const { data, error, loading, reload } = useLoad<Page>(path);
  const [older, setOlder] = useState<{ path: string; events: AuditEvent[]; next: Page['next'] } | null>(null);
  const [busy, setBusy] = useState(false);
  // Older pages belong to the list that they go on from.
  const more = older?.path === path ? older : null;
  const events = [...(data?.events ?? []), ...(more?.events ?? [])];
  const next = more ? more.next : data?.next;
  const columns: Column<AuditEvent>[] = [
    {
      head: 'When',
      cell: (event) => (
        <span class="row-title">
          <span class="path">{format.moment(event.time)}</span>
          <span class="sub">
            <Ago at={event.time} />
          </span>
        </span>
      ),
    },
    { head: 'Action', cell: (event) => <Badge tone={tone(event.action)}>{event.action}</Badge> },
    {
      head: 'Who',
      tight: true,
      cell: (event) => (
        <>
          {event.actor || 'unknown'}
          <span class="sub">{event.address}</span>
        </>
      ),
    },
    {
      head: 'What',
      tight: true,
      cell: (event) => (
        <>
          {event.target || format.NONE}
          <span class="sub">{event.project_id}</span>
        </>
      ),
    },
    { head: 'Detail', wide: true, cell: (event) => <span class="detail">{event.detail || format.NONE}</span> },
  ];
  const fetchOlder = async () => {
    setBusy(true);
    try {
      const page = await get<Page>(`/audit${query({ limit: LIMIT, action, actor: asked, before: next ?? undefined })}`);
      setOlder({ path, events: [...(more?.events ?? []), ...(page.events ?? [])], next: page.next });
    } catch (failure) {
      say((failure as ApiError).message, 'bad');
    }
    setBusy(false);
  };
  return (
    <div class="stack">
      <form
        class="toolbar"
        onSubmit={(event) => {
          event.preventDefault();
          setAsked(actor.trim());
        }}
      >
        <label class="filter">
          <span>Action</span>
          <select data-search="" value={action} onChange={(event) => setAction(event.currentTarget.value)}>
            <option value="">all</option>
            {actions.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label class="filter">
          <span>Who</span>
          <input
            placeholder="id of a key, or cli"
            value={actor}
            onInput={(event) => setActor(event.currentTarget.value)}
            onChange={() => setAsked(actor.trim())}
          />
        </label>
        <div class="end row">
          <Button
            onClick={() => {
              setOlder(null);
              reload();
            }}
          >
            Newest
          </Button>
        </div>
      </form>
      {error && <Failure error={error} retry={reload} />}
      <Card class="flush">
        {loading && <Waiting lines={10} />}
        {data && events.length === 0 && <Empty title="Nothing is written of that." />}
        {events.length > 0 && (
          <Table caption="What was done, the latest first" columns={columns} rows={events} rowKey={(event) => event.id} />
        )}
        {next != null && next !== '' && next !== 0 && events.length > 0 && (
          <p class="more">
            <Button disabled={busy} onClick={fetchOlder}>
              Show older
            </Button>
          </p>
        )}
      </Card>
    </div>
  );
}
