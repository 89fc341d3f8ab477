import { useEffect, useMemo, useState } from 'preact/hooks';
import type { Call, Stages } from '../api';
import * as format from '../format';
import * as live from '../live';
import { useStore } from '../store';
import { Badge, Button, Card, type Column, Dialog, Empty, Facts, Table, type Tone, Waiting } from '../ui';
import { Legend, Strip, stageNames, Waterfall } from '../waterfall';

/** How many rows are drawn at once; more at the press of a button. */
const PAGE = 50;

export function statusTone(call: Call): Tone {
  if (call.status === 0) return 'info';
  if (call.status < 400) return 'good';
  return call.status < 500 ? 'warn' : 'bad';
}

export const modelOf = (call: Call) => call.model_answered || call.model_routed || call.model_requested;
const keyOf = (call: Call) => call.key_name || call.key_id;
const tokensOf = (call: Call) => call.input_tokens + call.cache_read_input_tokens + call.cache_creation_input_tokens;

/** stagesOf gives a request's stages. A run of an agent has calls of its own, which have theirs: its work is one. */
function stagesOf(call: Call, total: number): { stages: Stages; running: string | undefined } {
  const running = call.status === 0 ? call.stage : undefined;
  if (!/\/task\b/.test(call.endpoint) || call.stages.generate) return { stages: call.stages, running };
  const before = (['auth', 'decode', 'admit'] as const).reduce((sum, stage) => sum + (call.stages[stage] ?? 0), 0);
  const { auth, decode, admit, record } = call.stages;
  return {
    stages: { auth, decode, admit, generate: Math.max(0, total - before - (record ?? 0)), record },
    running: running && 'generate',
  };
}

/** elapsed is how long a request took, or has taken until now. */
function elapsed(call: live.Seen, now: number): number {
  return call.status === 0 ? call.elapsed_ms + Math.max(0, now - call.at) : call.elapsed_ms;
}

/** useNow draws anew a few times a second, as long as something runs. */
function useNow(running: boolean): number {
  const [now, setNow] = useState(performance.now());
  useEffect(() => {
    if (!running) return;
    const timer = window.setInterval(() => setNow(performance.now()), 200);
    return () => window.clearInterval(timer);
  }, [running]);
  return Math.max(now, running ? now : performance.now());
}

/** CallRows is a table of requests; one can be opened. */
export function CallRows({ caption, list }: { caption: string; list: live.Seen[] }) {
  const [open, setOpen] = useState<string | null>(null);
  const now = useNow(list.some((call) => call.status === 0));
  const columns: Column<live.Seen>[] = [
    {
      head: 'Request',
      cell: (call) => (
        <button type="button" class="row-title" onClick={() => setOpen(call.key)}>
          <span class="path">{call.endpoint}</span>
          <span class="sub">
            {format.time(call.started_at)}
            {call.part && ', part of a run'}
          </span>
        </button>
      ),
    },
    {
      head: 'Status',
      cell: (call) => (
        <Badge tone={statusTone(call)} dot={call.status === 0}>
          {call.status === 0 ? 'running' : call.status}
        </Badge>
      ),
    },
    {
      head: 'Model',
      tight: true,
      cell: (call) => (
        <>
          {modelOf(call) || format.NONE}
          <span class="sub">{call.backend || format.NONE}</span>
        </>
      ),
    },
    {
      head: 'Key',
      tight: true,
      cell: (call) => (
        <>
          {keyOf(call)}
          <span class="sub">{call.project_id}</span>
        </>
      ),
    },
    {
      head: 'Stages',
      wide: true,
      cell: (call) => <Strip {...stagesOf(call, elapsed(call, now))} total={elapsed(call, now)} />,
    },
    { head: 'First token', num: true, cell: (call) => format.milliseconds(call.ttft_ms) },
    { head: 'Total', num: true, cell: (call) => format.milliseconds(elapsed(call, now)) },
    {
      head: 'Tokens',
      num: true,
      cell: (call) => (
        <>
          {format.compact(tokensOf(call))}
          <span class="sub">{format.compact(call.output_tokens)} out</span>
        </>
      ),
    },
    { head: 'Cost', num: true, cell: (call) => format.money(call.cost_micro_usd) },
  ];
  return (
    <>
      <Table caption={caption} columns={columns} rows={list} rowKey={(call) => call.key} onRow={(call) => setOpen(call.key)} />
      {open && <Details call={open} onClose={() => setOpen(null)} />}
    </>
  );
}

/** Details shows one request, as long as it runs with what is known by now. */
function Details({ call: key, onClose }: { call: string; onClose: () => void }) {
  const { live: running, recent } = useStore(live.calls);
  const now = running.find((call) => call.key === key) ?? recent.find((call) => call.key === key);
  // It may have left the list while somebody reads.
  const [last, setLast] = useState(now);
  useEffect(() => {
    if (now) setLast(now);
  }, [now]);
  const call = now ?? last;
  const clock = useNow(call?.status === 0);
  if (!call) return null;
  const total = elapsed(call, clock);
  const parts = stagesOf(call, total);
  return (
    <Dialog title={call.endpoint} panel onClose={onClose}>
      <p class="row">
        <Badge tone={statusTone(call)} dot={call.status === 0}>
          {call.status === 0
            ? `running: ${parts.running ? (stageNames[parts.running as keyof typeof stageNames] ?? parts.running) : ''}`
            : call.status}
        </Badge>
        {call.category && <Badge tone="warn">{call.category}</Badge>}
        {call.part && <Badge>part of a run</Badge>}
      </p>
      <h3>Where the time went</h3>
      <Waterfall {...parts} total={total} />
      <h3>Request</h3>
      <Facts
        list={[
          ['Id', <code key="id">{call.id}</code>],
          ['Started', format.moment(call.started_at)],
          ['Time to first token', format.milliseconds(call.ttft_ms)],
          ['Backend', call.backend],
          ['Model asked for', call.model_requested],
          ['Model routed to', call.model_routed],
          ['Model that answered', call.model_answered],
          ['Key', keyOf(call)],
          ['Project', call.project_id],
        ]}
      />
      <h3>Usage</h3>
      <Facts
        list={[
          ['Input', format.integer(call.input_tokens)],
          ['Read from the cache', format.integer(call.cache_read_input_tokens)],
          ['Written to the cache', format.integer(call.cache_creation_input_tokens)],
          ['Output', format.integer(call.output_tokens)],
          ['Cost', format.money(call.cost_micro_usd)],
        ]}
      />
    </Dialog>
  );
}

const filters = {
  endpoint: (call: Call) => call.endpoint,
  backend: (call: Call) => call.backend,
  model: modelOf,
  key: keyOf,
  status: (call: Call) => (call.status === 0 ? 'running' : `${Math.floor(call.status / 100)}xx`),
};
type Filter = keyof typeof filters;
const labels: Record<Filter, string> = {
  endpoint: 'Endpoint',
  backend: 'Backend',
  model: 'Model',
  key: 'Key',
  status: 'Status',
};

export function Requests() {
  const current = useStore(live.calls);
  const loaded = useStore(live.callsLoaded);
  const connection = useStore(live.connection);
  const [held, setHeld] = useState<typeof current | null>(null);
  const [chosen, setChosen] = useState<Partial<Record<Filter, string>>>({});
  const [count, setCount] = useState(PAGE);
  const { live: running, recent } = held ?? current;
  const all = useMemo(() => [...running, ...recent], [running, recent]);
  const matching = all.filter((call) =>
    (Object.keys(filters) as Filter[]).every((name) => !chosen[name] || filters[name](call) === chosen[name]),
  );
  const values = (name: Filter) => [...new Set([...all.map(filters[name]), chosen[name] ?? ''])].filter(Boolean).sort();
  const some = Object.values(chosen).some(Boolean);
  return (
    <div class="stack">
      <div class="toolbar">
        {(Object.keys(filters) as Filter[]).map((name, i) => (
          <label key={name} class="filter">
            <span>{labels[name]}</span>
            <select
              data-search={i === 0 ? '' : undefined}
              value={chosen[name] ?? ''}
              onChange={(event) => setChosen({ ...chosen, [name]: event.currentTarget.value })}
            >
              <option value="">all</option>
              {values(name).map((value) => (
                <option key={value} value={value}>
                  {value}
                </option>
              ))}
            </select>
          </label>
        ))}
        <div class="end row">
          {some && (
            <Button kind="quiet" onClick={() => setChosen({})}>
              Clear
            </Button>
          )}
          <Button icon={held ? 'play' : 'pause'} aria-pressed={held !== null} onClick={() => setHeld(held ? null : current)}>
            {held ? 'Go on' : 'Pause'}
          </Button>
        </div>
      </div>
      <Card class="flush">
        <div class="table-head">
          <p class="hint" aria-live="off">
            {format.integer(running.length)} running, {format.integer(recent.length)} ended
            {some && `, ${format.integer(matching.length)} shown`}
            {held && ', paused'}
          </p>
          <Legend />
        </div>
        {matching.length > 0 ? (
          <CallRows caption="Requests, the latest first" list={matching.slice(0, count)} />
        ) : !loaded && connection !== 'lost' ? (
          <Waiting lines={8} />
        ) : all.length > 0 ? (
          <Empty title="No request is like that.">
            <Button onClick={() => setChosen({})}>Clear the filters</Button>
          </Empty>
        ) : (
          <Empty title="No request yet.">They appear here as they run.</Empty>
        )}
        {matching.length > count && (
          <p class="more">
            <Button onClick={() => setCount(count + PAGE)}>Show more</Button>
          </p>
        )}
      </Card>
    </div>
  );
}
