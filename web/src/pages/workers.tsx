import { useState } from 'preact/hooks';
import { send, type Worker } from '../api';
import * as format from '../format';
import * as live from '../live';
import { useLoad } from '../load';
import { useStore } from '../store';
import { Badge, Bar, Button, Card, type Column, Confirm, Empty, Facts, Failure, say, Table, type Tone, Waiting } from '../ui';

export const stateTones: Record<Worker['state'], Tone> = {
  starting: 'info',
  idle: 'good',
  held: 'good',
  parked: 'warn',
  bound: 'accent',
  busy: 'accent',
  draining: 'neutral',
};

const meanings: [Worker['state'], string][] = [
  ['starting', 'the process comes up'],
  ['idle', 'waits, warm and empty'],
  ['held', 'keeps a conversation for its key'],
  ['parked', 'waits for the results of a client’s tools'],
  ['bound', 'takes on a request’s model and history'],
  ['busy', 'a turn runs'],
  ['draining', 'is emptied'],
];

export function Workers() {
  const overview = useStore(live.overview);
  const { data, error, loading, reload } = useLoad<{ workers: Worker[] | null; max: number; min: number }>('/workers', 1000);
  const [ending, setEnding] = useState<Worker | null>(null);
  const workers = data?.workers ?? [];
  const pool = overview?.pool;
  const columns: Column<Worker>[] = [
    {
      head: 'Worker',
      by: (worker) => worker.id,
      cell: (worker) => (
        <span class="row-title">
          <span class="path">{worker.id}</span>
          <span class="sub">pid {worker.pid || format.NONE}</span>
        </span>
      ),
    },
    {
      head: 'State',
      by: (worker) => worker.state,
      cell: (worker) => (
        <Badge tone={stateTones[worker.state]} dot>
          {worker.state}
        </Badge>
      ),
    },
    { head: 'Age', num: true, by: (worker) => worker.age_seconds, cell: (worker) => format.seconds(worker.age_seconds) },
    {
      head: 'Idle for',
      num: true,
      by: (worker) => worker.idle_seconds,
      cell: (worker) => (worker.idle_seconds > 0 ? format.seconds(worker.idle_seconds) : format.NONE),
    },
    { head: 'Turns', num: true, by: (worker) => worker.turns, cell: (worker) => format.integer(worker.turns) },
    { head: 'Memory', num: true, by: (worker) => worker.rss_bytes, cell: (worker) => format.bytes(worker.rss_bytes) },
    { head: 'Project', by: (worker) => worker.project_id, cell: (worker) => worker.project_id || format.NONE },
    { head: 'Model', wide: true, by: (worker) => worker.model, cell: (worker) => worker.model || format.NONE },
    {
      head: 'Request',
      cell: (worker) =>
        worker.request_id ? (
          <code class="short" title={worker.request_id}>
            {worker.request_id}
          </code>
        ) : (
          format.NONE
        ),
    },
    {
      head: 'Actions',
      cell: (worker) => (
        <Button small icon="stop" aria-label={`End worker ${worker.id}`} onClick={() => setEnding(worker)}>
          End
        </Button>
      ),
    },
  ];
  return (
    <div class="stack">
      {error && <Failure error={error} retry={reload} />}
      {pool && (
        <div class="columns">
          <Card title="Pool" hint={`${pool.min} to ${pool.max} processes`}>
            <Bar label="Workers that are busy" value={(pool.busy + pool.parked) / Math.max(pool.max, 1)} />
            <Facts
              list={[
                ['Idle', format.integer(pool.idle)],
                ['Busy', format.integer(pool.busy)],
                ['Parked', format.integer(pool.parked)],
                ['Starting', format.integer(pool.starting)],
                ['How', pool.mode],
              ]}
            />
          </Card>
          <Card title="Queue" hint="requests that wait for a worker">
            <p class="big">{format.integer(pool.queued)}</p>
            <p class="hint">{pool.reason || 'Keys take turns, whoever came first.'}</p>
          </Card>
          <Card title="States">
            <ul class="legend-list">
              {meanings.map(([state, meaning]) => (
                <li key={state}>
                  <Badge tone={stateTones[state]} dot>
                    {state}
                  </Badge>
                  <span class="sub">{meaning}</span>
                </li>
              ))}
            </ul>
          </Card>
        </div>
      )}
      <Card class="flush">
        {loading && <Waiting />}
        {data && workers.length === 0 && (
          <Empty title="There are no workers.">
            {pool === null
              ? 'The service runs without the Claude Code CLI.'
              : 'They start with the service, or with the first requests.'}
          </Empty>
        )}
        {workers.length > 0 && <Table caption="Workers" columns={columns} rows={workers} rowKey={(worker) => worker.id} />}
      </Card>
      {ending && (
        <Confirm
          title={`End worker ${ending.id}?`}
          action="End it"
          onClose={() => setEnding(null)}
          onConfirm={async () => {
            await send('DELETE', `/workers/${encodeURIComponent(ending.id)}`);
            setEnding(null);
            say(`Worker ${ending.id} is ended.`);
            reload();
          }}
        >
          <p>
            Its process is killed and another one takes its place. {ending.request_id && 'The request that it works on fails.'}
          </p>
        </Confirm>
      )}
    </div>
  );
}
