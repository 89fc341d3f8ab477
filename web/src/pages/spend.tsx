import { useState } from 'preact/hooks';
import { type Budget, type SpendRow, send } from '../api';
import * as format from '../format';
import { useLoad } from '../load';
import {
  Badge,
  Bar,
  Button,
  Card,
  Choice,
  type Column,
  Confirm,
  Dialog,
  Empty,
  Failure,
  Field,
  Figure,
  say,
  Table,
  useWork,
  Waiting,
} from '../ui';
import { BudgetLine, budgetKey, inUnit } from './overview';

type Period = 'day' | 'week' | 'month';
type By = 'project' | 'key' | 'model' | 'backend' | 'day';

const periodNames: Record<Period, string> = { day: 'today', week: 'this week', month: 'this month' };

export function Spend() {
  const [period, setPeriod] = useState<Period>('month');
  const [by, setBy] = useState<By>('project');
  const { data, error, loading, reload } = useLoad<{ rows: SpendRow[] | null }>(`/spend?period=${period}&by=${by}`, 10_000);
  const rows = data?.rows ?? [];
  const sum = (of: (row: SpendRow) => number) => rows.reduce((all, row) => all + of(row), 0);
  const most = Math.max(...rows.map((row) => row.cost_micro_usd), 1);
  const columns: Column<SpendRow>[] = [
    {
      head: by === 'day' ? 'Day' : by[0]?.toUpperCase() + by.slice(1),
      by: (row) => row.name,
      cell: (row) => (
        <span class="row-title">
          <span class="path">{row.name || 'none'}</span>
          {row.id && row.id !== row.name && <span class="sub">{row.id}</span>}
        </span>
      ),
    },
    {
      head: 'Part',
      wide: true,
      cell: (row) => (
        <Bar label={`${row.name || 'none'}: ${format.money(row.cost_micro_usd)}`} value={row.cost_micro_usd / most} />
      ),
    },
    {
      head: 'Cost',
      num: true,
      by: (row) => row.cost_micro_usd,
      cell: (row) => <strong>{format.money(row.cost_micro_usd)}</strong>,
    },
    { head: 'Requests', num: true, by: (row) => row.requests, cell: (row) => format.integer(row.requests) },
    {
      head: 'Errors',
      num: true,
      by: (row) => row.errors,
      cell: (row) => <span class={row.errors > 0 ? 'bad-text' : undefined}>{format.integer(row.errors)}</span>,
    },
    { head: 'Input', num: true, by: (row) => row.input_tokens, cell: (row) => format.compact(row.input_tokens) },
    {
      head: 'Cache read',
      num: true,
      by: (row) => row.cache_read_input_tokens,
      cell: (row) => format.compact(row.cache_read_input_tokens),
    },
    {
      head: 'Cache written',
      num: true,
      by: (row) => row.cache_creation_input_tokens,
      cell: (row) => format.compact(row.cache_creation_input_tokens),
    },
    { head: 'Output', num: true, by: (row) => row.output_tokens, cell: (row) => format.compact(row.output_tokens) },
  ];
  return (
    <div class="stack">
      <div class="toolbar">
        <Choice
          label="Period"
          value={period}
          onChange={setPeriod}
          options={[
            ['day', 'Today'],
            ['week', 'Week'],
            ['month', 'Month'],
          ]}
        />
        <Choice
          label="By"
          value={by}
          onChange={setBy}
          options={[
            ['project', 'Project'],
            ['key', 'Key'],
            ['model', 'Model'],
            ['backend', 'Backend'],
            ['day', 'Day'],
          ]}
        />
      </div>
      {error && <Failure error={error} retry={reload} />}
      {data && (
        <dl class="figures card">
          <Figure name="Cost" value={format.money(sum((row) => row.cost_micro_usd))} note={periodNames[period]} />
          <Figure
            name="Requests"
            value={format.compact(sum((row) => row.requests))}
            note={`${format.compact(sum((row) => row.errors))} failed`}
          />
          <Figure
            name="Input tokens"
            value={format.compact(
              sum((row) => row.input_tokens + row.cache_read_input_tokens + row.cache_creation_input_tokens),
            )}
            note={`${format.compact(sum((row) => row.cache_read_input_tokens))} read from the cache`}
          />
          <Figure name="Output tokens" value={format.compact(sum((row) => row.output_tokens))} note={periodNames[period]} />
        </dl>
      )}
      <Card class="flush">
        {loading && <Waiting />}
        {data && rows.length === 0 && <Empty title={`Nothing was spent ${periodNames[period]}.`} />}
        {rows.length > 0 && (
          <Table
            key={by}
            caption={`Spend by ${by}, ${periodNames[period]}`}
            columns={columns}
            rows={rows}
            rowKey={(row) => row.id || row.name}
            sorted={by === 'day' ? { column: 0, down: true } : { column: 2, down: true }}
          />
        )}
      </Card>
      <Budgets />
    </div>
  );
}

function Budgets() {
  const { data, error, loading, reload } = useLoad<{ budgets: Budget[] | null }>('/budgets', 10_000);
  const [editing, setEditing] = useState<Budget | 'new' | null>(null);
  const [ending, setEnding] = useState<Budget | null>(null);
  const budgets = [...(data?.budgets ?? [])].sort((a, b) => budgetKey(a).localeCompare(budgetKey(b)));
  return (
    <Card
      title="Budgets"
      hint="the mark is where a warning begins"
      actions={
        <Button icon="plus" onClick={() => setEditing('new')}>
          Set a budget
        </Button>
      }
    >
      {loading && <Waiting lines={3} />}
      {error && <Failure error={error} retry={reload} />}
      {data && budgets.length === 0 && (
        <Empty title="No budgets are set.">Keys and projects spend what their upstream lets them.</Empty>
      )}
      <ul class="lines">
        {budgets.map((budget) => (
          <li key={budgetKey(budget)}>
            <div class="grow">
              <BudgetLine budget={budget} />
              <p class="sub">
                {budget.left === null ? '' : `${inUnit(budget, budget.left)} left`}
                {budget.held ? `, ${inUnit(budget, budget.held)} held by what runs` : ''}
                {budget.resets_at ? `; begins anew ${format.ago(budget.resets_at)}` : ''}
              </p>
            </div>
            {budget.hard > 0 && budget.spent >= budget.hard && <Badge tone="bad">spent</Badge>}
            <div class="row">
              <Button
                small
                aria-label={`Change the budget of ${budget.owner_id} a ${budget.period}`}
                onClick={() => setEditing(budget)}
              >
                Change
              </Button>
              <Button
                small
                kind="quiet"
                aria-label={`Remove the budget of ${budget.owner_id} a ${budget.period}`}
                onClick={() => setEnding(budget)}
              >
                Remove
              </Button>
            </div>
          </li>
        ))}
      </ul>
      {editing && (
        <BudgetForm
          budget={editing === 'new' ? null : editing}
          onClose={() => setEditing(null)}
          onDone={() => {
            setEditing(null);
            reload();
          }}
        />
      )}
      {ending && (
        <Confirm
          title="Remove this budget?"
          action="Remove it"
          onClose={() => setEnding(null)}
          onConfirm={async () => {
            const { owner_kind, owner_id, period, unit } = ending;
            await send('DELETE', `/budgets?${new URLSearchParams({ owner_kind, owner_id, period, unit })}`);
            setEnding(null);
            say('The budget is removed.');
            reload();
          }}
        >
          <p>
            The {ending.owner_kind} {ending.owner_id} may then spend without this limit.
          </p>
        </Confirm>
      )}
    </Card>
  );
}

function BudgetForm({ budget, onClose, onDone }: { budget: Budget | null; onClose: () => void; onDone: () => void }) {
  const money = budget ? /usd/i.test(budget.unit) : true;
  const [form, setForm] = useState({
    kind: budget?.owner_kind ?? 'project',
    id: budget?.owner_id ?? '',
    period: budget?.period ?? 'month',
    unit: budget?.unit ?? 'usd',
    limit: budget ? String(money ? budget.hard / 1e6 : budget.hard) : '',
    soft: String(budget?.soft_percent ?? 80),
  });
  const set = (change: Partial<typeof form>) => setForm({ ...form, ...change });
  const work = useWork();
  const owners = useLoad<{ projects: { id: string }[] | null }>('/projects');
  const keys = useLoad<{ keys: { id: string; name: string; admin: boolean; revoked_at?: string | null }[] | null }>('/keys');
  const wrong = (name: string) => (work.error?.param === name ? work.error.message : undefined);
  const submit = (event: Event) => {
    event.preventDefault();
    void work.run(async () => {
      const limit = Number(form.limit);
      await send('PUT', '/budgets', {
        owner_kind: form.kind,
        owner_id: form.id,
        period: form.period,
        unit: form.unit,
        hard: /usd/i.test(form.unit) ? Math.round(limit * 1e6) : Math.round(limit),
        soft_percent: Number(form.soft),
      });
      say('The budget is set.');
      onDone();
    });
  };
  const ids =
    form.kind === 'project'
      ? (owners.data?.projects ?? []).map((project): [string, string] => [project.id, project.id])
      : (keys.data?.keys ?? [])
          .filter((key) => !key.revoked_at && !key.admin)
          .map((key): [string, string] => [key.id, key.name ? `${key.name} (${key.id})` : key.id]);
  return (
    <Dialog title={budget ? 'Change a budget' : 'Set a budget'} onClose={onClose}>
      <form class="form" onSubmit={submit}>
        <Field label="Of a" error={wrong('owner_kind')}>
          {(given) => (
            <select
              {...given}
              disabled={Boolean(budget)}
              value={form.kind}
              onChange={(event) => set({ kind: event.currentTarget.value, id: '' })}
            >
              <option value="project">project</option>
              <option value="key">key</option>
            </select>
          )}
        </Field>
        <Field label={form.kind === 'project' ? 'Project' : 'Key'} error={wrong('owner_id')}>
          {(given) => (
            <select
              {...given}
              required
              disabled={Boolean(budget)}
              value={form.id}
              onChange={(event) => set({ id: event.currentTarget.value })}
            >
              <option value="">choose one</option>
              {ids.map(([id, name]) => (
                <option key={id} value={id}>
                  {name}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label="For each" error={wrong('period')}>
          {(given) => (
            <select
              {...given}
              disabled={Boolean(budget)}
              value={form.period}
              onChange={(event) => set({ period: event.currentTarget.value })}
            >
              {['day', 'week', 'month', 'total'].map((period) => (
                <option key={period} value={period}>
                  {period}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label="In" error={wrong('unit')}>
          {(given) => (
            <select
              {...given}
              disabled={Boolean(budget)}
              value={form.unit}
              onChange={(event) => set({ unit: event.currentTarget.value })}
            >
              <option value="usd">US dollars</option>
              <option value="tokens">tokens</option>
            </select>
          )}
        </Field>
        <Field label={/usd/i.test(form.unit) ? 'At the most, in US dollars' : 'At the most, in tokens'} error={wrong('hard')}>
          {(given) => (
            <input
              {...given}
              type="number"
              required
              min="0"
              step="any"
              inputMode="decimal"
              value={form.limit}
              onInput={(event) => set({ limit: event.currentTarget.value })}
            />
          )}
        </Field>
        <Field label="A warning from, in percent" error={wrong('soft_percent')}>
          {(given) => (
            <input
              {...given}
              type="number"
              min="0"
              max="100"
              inputMode="numeric"
              value={form.soft}
              onInput={(event) => set({ soft: event.currentTarget.value })}
            />
          )}
        </Field>
        {work.error && !work.error.param && <Failure error={work.error} />}
        <footer class="dialog-foot">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" kind="primary" disabled={work.busy}>
            Set it
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}
