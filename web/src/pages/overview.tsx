import type { Breaker, Budget, Pool, SpendRow, Timeline, Worker } from '../api';
import { Chart } from '../chart';
import * as format from '../format';
import * as live from '../live';
import { useLoad } from '../load';
import { Link } from '../router';
import { useStore } from '../store';
import { Badge, Bar, Card, Empty, Facts, Failure, Figure, type Tone, Waiting } from '../ui';
import { CallRows } from './requests';
import { stateTones } from './workers';

const serviceTones: Record<string, Tone> = { ok: 'good', degraded: 'warn', down: 'bad', off: 'neutral' };

const waiting = (n: number) =>
  n === 0 ? 'none waits for a worker' : n === 1 ? '1 waits for a worker' : `${format.integer(n)} wait for a worker`;

export function Overview() {
  const overview = useStore(live.overview);
  const connection = useStore(live.connection);
  if (!overview && connection !== 'lost') return <Waiting lines={10} />;
  if (!overview)
    return <Empty title="Nothing is known of the service yet.">The page goes on as soon as it can reach it.</Empty>;
  const { rates } = overview;
  return (
    <div class="stack">
      <dl class="figures card">
        <Figure name="Requests" value={format.rate(rates.requests_per_second)} note="a second, last minute" />
        <Figure
          name="Running"
          value={format.integer(overview.live)}
          note={overview.pool ? waiting(overview.pool.queued) : undefined}
        />
        <Figure
          name="Errors"
          value={format.percent(rates.error_ratio)}
          tone={rates.error_ratio > 0.05 ? 'bad' : undefined}
          note={`${format.rate(rates.errors_per_second)} a second`}
        />
        <Figure name="Tokens" value={format.compact(rates.tokens_per_second)} note="a second, last minute" />
        <Figure name="Spend" value={format.money(rates.cost_micro_usd_per_minute)} note="last minute" />
        <SpentToday />
      </dl>
      <Charts uptime={overview.uptime_seconds} />
      <div class="columns">
        {overview.pool && <PoolCard pool={overview.pool} />}
        <Card title="Services">
          <ul class="lines">
            {Object.entries(overview.services).map(([name, service]) => (
              <li key={name}>
                <span class="grow">
                  <strong>{name}</strong>
                  {service.detail && <span class="sub">{service.detail}</span>}
                </span>
                <Badge tone={serviceTones[service.status] ?? 'warn'} dot>
                  {service.status}
                </Badge>
              </li>
            ))}
          </ul>
        </Card>
        <Breakers list={overview.breakers ?? []} />
        <Budgets />
        <Card title="Jobs and tasks" actions={<Link to="/tasks">All tasks</Link>}>
          <Facts
            list={[
              ['Running', format.integer(overview.running_jobs)],
              ['Queued', format.integer(overview.queued_jobs)],
              ['Approvals that wait', format.integer(overview.waiting_approvals)],
            ]}
          />
        </Card>
        <Card title="Process">
          <Facts
            list={[
              ['Version', overview.version],
              ['Up for', format.seconds(overview.uptime_seconds)],
              ['Memory', format.bytes(overview.memory.rss_bytes)],
              ['Goroutines', format.integer(overview.memory.goroutines)],
              ['Node', overview.node],
              ...((overview.nodes?.length ?? 0) > 1
                ? [['Nodes', overview.nodes?.map((node) => node.id).join(', ')] as [string, string]]
                : []),
            ]}
          />
        </Card>
      </div>
      <Latest />
    </div>
  );
}

function SpentToday() {
  const { data } = useLoad<{ rows: SpendRow[] | null }>('/spend?period=day&by=backend', 10_000);
  const rows = data?.rows ?? [];
  const sum = rows.reduce((all, row) => all + row.cost_micro_usd, 0);
  const count = rows.reduce((all, row) => all + row.requests, 0);
  return (
    <Figure
      name="Spend today"
      value={data ? format.money(sum) : format.NONE}
      note={data ? `${format.compact(count)} requests` : undefined}
    />
  );
}

/** grouped adds values up, so many to one: single seconds jump too much to be read. */
function grouped(values: number[], size: number): number[] {
  const list: number[] = [];
  for (let i = 0; i + size <= values.length; i += size) list.push(values.slice(i, i + size).reduce((a, b) => a + b, 0));
  return list;
}

/** largest takes the largest of so many values that are there. */
function largest(values: (number | null)[], size: number): (number | null)[] {
  const list: (number | null)[] = [];
  for (let i = 0; i + size <= values.length; i += size) {
    const part = values.slice(i, i + size).filter((value): value is number => value != null && value > 0);
    list.push(part.length > 0 ? Math.max(...part) : null);
  }
  return list;
}

/** The least that a chart shows, in seconds. */
const LEAST = 120;

/**
 * recent leaves out what was before the service began, and the step that isn't over yet. It
 * begins where a group does: else every group would have other values a moment later.
 */
function recent(line: Timeline, uptime: number): { line: Timeline; size: number } {
  const { step_seconds: step } = line;
  const shown = Math.min(line.requests.length, Math.ceil(Math.max(LEAST, uptime) / step));
  const size = Math.max(1, Math.round((shown * step > 300 ? 10 : 5) / step));
  let left = line.requests.length - shown;
  const first = Math.round(Date.parse(line.start) / 1000 / step) + left;
  left += (size - (first % size)) % size;
  return {
    size,
    line: {
      ...line,
      start: new Date(Date.parse(line.start) + left * step * 1000).toISOString(),
      requests: line.requests.slice(left, -1),
      errors: line.errors.slice(left, -1),
      tokens: line.tokens.slice(left, -1),
      cost_micro_usd: line.cost_micro_usd.slice(left, -1),
      p50_ms: line.p50_ms.slice(left, -1),
      p95_ms: line.p95_ms.slice(left, -1),
    },
  };
}

function Charts({ uptime }: { uptime: number }) {
  const { data: whole, error, reload } = useLoad<Timeline>('/timeline?minutes=15', 5000);
  const { line: data, size } = whole ? recent(whole, uptime) : { line: null, size: 1 };
  const span = uptime < 900 ? 'since the start' : 'last 15 minutes';
  if (error && !data) return <Failure error={error} retry={reload} />;
  const step = size * (data?.step_seconds ?? 10);
  const start = data ? Date.parse(data.start) / 1000 : 0;
  const perSecond = (values: number[]) => grouped(values, size).map((value) => value / step);
  const requests = data ? perSecond(data.requests) : [];
  const times = requests.map((_, i) => start + i * step);
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  const cards = data && [
    {
      title: 'Requests a second',
      label: `${format.integer(sum(data.requests))} requests, ${format.integer(sum(data.errors))} of them failed`,
      lines: [
        { name: 'requests', color: '--chart-1', values: requests, fill: true },
        { name: 'errors', color: '--chart-bad', values: perSecond(data.errors) },
      ],
      write: format.rate,
    },
    {
      title: 'Latency',
      label: 'the time of a request: median and 95th percentile',
      lines: [
        { name: 'p95', color: '--chart-3', values: largest(data.p95_ms, size) },
        { name: 'p50', color: '--chart-1', values: largest(data.p50_ms, size), fill: true },
      ],
      write: format.milliseconds,
    },
    {
      title: 'Tokens a second',
      label: `${format.integer(sum(data.tokens))} tokens`,
      lines: [{ name: 'in and out', color: '--chart-2', values: perSecond(data.tokens), fill: true }],
      write: format.compact,
    },
    {
      title: 'Spend a minute',
      label: `${format.money(sum(data.cost_micro_usd))} spent`,
      lines: [
        {
          name: 'all keys',
          color: '--chart-4',
          values: grouped(data.cost_micro_usd, size).map((n) => (n * 60) / step),
          fill: true,
        },
      ],
      write: format.money,
    },
  ];
  return (
    <div class="charts">
      {cards
        ? cards.map((card) => (
            <Card key={card.title} title={card.title} hint={span}>
              <Chart label={`${card.title} ${span}: ${card.label}.`} times={times} lines={card.lines} format={card.write} />
            </Card>
          ))
        : ['Requests a second', 'Latency', 'Tokens a second', 'Spend a minute'].map((title) => (
            <Card key={title} title={title} hint={span}>
              <div class="chart" />
            </Card>
          ))}
    </div>
  );
}

function PoolCard({ pool }: { pool: Pool }) {
  const { data } = useLoad<{ workers: Worker[] | null }>('/workers', 2000);
  const workers = data?.workers ?? [];
  return (
    <Card title="Workers" hint={`${pool.min} to ${pool.max}`} actions={<Link to="/workers">All workers</Link>}>
      <ul class="squares" aria-label="Workers by state">
        {workers.map((worker) => (
          <li
            key={worker.id}
            class={stateTones[worker.state]}
            title={`${worker.id}: ${worker.state}, ${format.bytes(worker.rss_bytes)}`}
          >
            <span class="hidden">{worker.state}</span>
          </li>
        ))}
        {Array.from({ length: Math.max(0, pool.max - workers.length) }, (_, i) => (
          <li key={i} class="none" title="no process">
            <span class="hidden">none</span>
          </li>
        ))}
      </ul>
      <Facts
        list={[
          ['Idle', `${pool.idle}${pool.held ? `, ${pool.held} with a conversation` : ''}`],
          ['Busy', format.integer(pool.busy)],
          ['Parked', format.integer(pool.parked)],
          ['Starting', format.integer(pool.starting)],
          ['In the queue', format.integer(pool.queued)],
          ['How', pool.mode],
        ]}
      />
      {pool.reason && <p class="hint">{pool.reason}</p>}
    </Card>
  );
}

const breakerTones: Record<Breaker['state'], Tone> = { closed: 'good', half_open: 'warn', open: 'bad' };

function Breakers({ list }: { list: Breaker[] }) {
  const notable = list.filter((breaker) => breaker.state !== 'closed' || breaker.failures > 0);
  return (
    <Card title="Circuit breakers" hint="open: the backend is left alone for a while">
      {notable.length === 0 ? (
        <Empty title="All are closed.">None counts a failure.</Empty>
      ) : (
        <ul class="lines">
          {notable.map((breaker) => (
            <li key={`${breaker.backend} ${breaker.family}`}>
              <span class="grow">
                <strong>{breaker.backend}</strong>
                <span class="sub">
                  {breaker.family || 'all models'}
                  {breaker.failures > 0 && `, ${breaker.failures} failed in a row`}
                  {breaker.until && `, tries again ${format.ago(breaker.until)}`}
                </span>
              </span>
              <Badge tone={breakerTones[breaker.state]} dot>
                {breaker.state.replace('_', ' ')}
              </Badge>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function Budgets() {
  const { data, error, loading, reload } = useLoad<{ budgets: Budget[] | null }>('/budgets', 10_000);
  const tightest = [...(data?.budgets ?? [])].sort((a, b) => used(b) - used(a)).slice(0, 4);
  return (
    <Card title="Budgets" hint="the tightest" actions={<Link to="/spend">Spend</Link>}>
      {loading && <Waiting lines={3} />}
      {error && !data && <Failure error={error} retry={reload} />}
      {data && tightest.length === 0 && <Empty title="No budgets are set." />}
      {tightest.length > 0 && (
        <ul class="lines">
          {tightest.map((budget) => (
            <li key={budgetKey(budget)}>
              <BudgetLine budget={budget} />
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

const used = (b: Budget) => b.spent / Math.max(b.hard || b.soft, 1);
export const budgetKey = (b: Budget) => `${b.owner_kind} ${b.owner_id} ${b.period} ${b.unit}`;
export const isMoney = (b: Budget) => /usd/i.test(b.unit);
export const inUnit = (b: Budget, n: number) => (isMoney(b) ? format.money(n) : format.compact(n));

export function BudgetLine({ budget }: { budget: Budget }) {
  // One without a hard limit only tells when it is passed.
  const most = budget.hard || budget.soft;
  const part = most > 0 ? budget.spent / most : 1;
  const soft = budget.hard > 0 && budget.soft > 0 ? budget.soft / budget.hard : undefined;
  const tone = part >= 1 ? 'bad' : soft !== undefined && part >= soft ? 'warn' : 'accent';
  const owner = budget.owner_name || budget.owner_id;
  return (
    <div class="budget">
      <p>
        <strong>{owner}</strong>{' '}
        <span class="sub">
          {budget.owner_kind}, a {budget.period}
        </span>
        <span class="end">
          {inUnit(budget, budget.spent)} of {inUnit(budget, most)}
          {isMoney(budget) ? '' : ' tokens'}
        </span>
      </p>
      <Bar
        label={`${owner}: ${format.percent(part)} of the budget of a ${budget.period}`}
        value={part}
        tone={tone}
        mark={soft}
      />
    </div>
  );
}

function Latest() {
  const { live: running, recent } = useStore(live.calls);
  const loaded = useStore(live.callsLoaded);
  const list = [...running, ...recent].slice(0, 8);
  return (
    <Card title="Latest requests" actions={<Link to="/requests">All requests</Link>} class="flush">
      {list.length > 0 ? (
        <CallRows caption="The latest of all keys" list={list} />
      ) : loaded ? (
        <Empty title="No request yet.">
          Try one in the <Link to="/playground">playground</Link>.
        </Empty>
      ) : (
        <Waiting lines={8} />
      )}
    </Card>
  );
}
