import { useState } from 'preact/hooks';
import type { Task } from '../api';
import * as format from '../format';
import { useLoad } from '../load';
import { go, Link } from '../router';
import { Ago, Badge, Button, Card, Choice, type Column, Empty, Failure, Table, type Tone, Waiting } from '../ui';

export const taskTones: Record<string, Tone> = {
  queued: 'neutral',
  running: 'info',
  completed: 'good',
  failed: 'bad',
  cancelled: 'neutral',
};

/** How many are shown at first, and how many more each time; the service gives 1,000 at the most. */
const PAGE = 50;
const MOST = 1000;

type State = 'all' | 'queued' | 'running' | 'completed' | 'failed' | 'cancelled';

/** took is how long a task ran, up to now where it still does. */
export function took(task: Task): string {
  if (!task.started_at) return format.NONE;
  const end = task.ended_at ? Date.parse(task.ended_at) : Date.now();
  return format.milliseconds(end - Date.parse(task.started_at));
}

export const costOf = (task: Task) => format.money(task.cost_usd == null ? null : task.cost_usd * 1e6);

export function Tasks() {
  const [state, setState] = useState<State>('all');
  const [count, setCount] = useState(PAGE);
  const { data, error, loading, reload } = useLoad<{ tasks: Task[] | null; next: string | null }>(
    `/tasks?limit=${count}${state === 'all' ? '' : `&state=${state}`}`,
    2000,
  );
  const tasks = data?.tasks ?? [];
  const columns: Column<Task>[] = [
    {
      head: 'Task',
      wide: true,
      cell: (task) => (
        <Link class="row-title" to={`/tasks/${encodeURIComponent(task.id)}`}>
          <span class="path clip">{task.description || task.id}</span>
          <span class="sub">{task.id}</span>
        </Link>
      ),
    },
    {
      head: 'State',
      cell: (task) => (
        <span class="row">
          <Badge tone={taskTones[task.status]} dot>
            {task.cancelling ? 'ending' : task.status}
          </Badge>
          {(task.approvals?.length ?? 0) > 0 && <Badge tone="warn">asks you</Badge>}
        </span>
      ),
    },
    {
      head: 'Key',
      tight: true,
      cell: (task) => (
        <>
          {task.key_id}
          <span class="sub">{task.project_id}</span>
        </>
      ),
    },
    { head: 'Created', tight: true, cell: (task) => <Ago at={task.created_at} /> },
    { head: 'Took', num: true, cell: took },
    { head: 'Attempts', num: true, cell: (task) => format.integer(task.attempt) },
  ];
  return (
    <div class="stack">
      <div class="toolbar">
        <Choice
          label="State"
          value={state}
          onChange={setState}
          options={[
            ['all', 'All'],
            ['queued', 'Queued'],
            ['running', 'Running'],
            ['completed', 'Completed'],
            ['failed', 'Failed'],
            ['cancelled', 'Cancelled'],
          ]}
        />
      </div>
      {error && <Failure error={error} retry={reload} />}
      <Card class="flush">
        {loading && <Waiting />}
        {data && tasks.length === 0 && (
          <Empty title={state === 'all' ? 'There are no tasks.' : 'No task is like that.'}>
            Start one in the <Link to="/playground">playground</Link>, or by POST /v1/task.
          </Empty>
        )}
        {tasks.length > 0 && (
          <Table
            caption="Tasks, the latest first"
            columns={columns}
            rows={tasks}
            rowKey={(task) => task.id}
            onRow={(task) => go(`/tasks/${encodeURIComponent(task.id)}`)}
          />
        )}
        {data?.next && count < MOST && (
          <p class="more">
            <Button onClick={() => setCount(count + PAGE)}>Show older</Button>
          </p>
        )}
      </Card>
    </div>
  );
}
