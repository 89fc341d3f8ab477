import { useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, type Approval, type Key, request, type Stages, type TaskEvent } from '../api';
import * as format from '../format';
import { useLoad } from '../load';
import { Link } from '../router';
import { events } from '../sse';
import { Badge, Button, Card, Choice, Empty, Failure, Field, Waiting } from '../ui';
import { Legend, Strip, Waterfall } from '../waterfall';
import { Line, Question } from './task';

type Mode = 'chat' | 'compare' | 'task';
type Path = 'warm' | 'cold' | 'direct';

const paths: readonly [Path, string, string][] = [
  ['cold', 'Cold', 'a process of the CLI is started for it'],
  ['warm', 'Warm', 'a process of the CLI that waits'],
  ['direct', 'Direct', 'the Messages API, without the CLI'],
];

interface Form {
  key_id: string;
  model: string;
  system: string;
  prompt: string;
  max_tokens: string;
  /** A task asks before it uses any tool. */
  ask: boolean;
}

interface Done {
  usage: { input_tokens: number; output_tokens: number };
  cost_micro_usd: number | null;
  model: string;
  stages: Stages;
  total_ms: number;
  ttft_ms: number | null;
}

interface Run {
  state: 'waiting' | 'running' | 'done' | 'failed' | 'stopped';
  text: string;
  id: string;
  done: Done | null;
  error: ApiError | null;
}

const fresh: Run = { state: 'waiting', text: '', id: '', done: null, error: null };

/** chat sends a prompt and tells of every change of its answer. */
async function chat(form: Form, path: Path, signal: AbortSignal, tell: (run: Run) => void) {
  let run: Run = { ...fresh, state: 'running' };
  const change = (part: Partial<Run>) => {
    run = { ...run, ...part };
    tell(run);
  };
  change({});
  try {
    const response = await request('/playground/chat', {
      method: 'POST',
      signal,
      body: {
        key_id: form.key_id,
        model: form.model,
        prompt: form.prompt,
        system: form.system || undefined,
        max_tokens: Number(form.max_tokens) || undefined,
        path,
      },
    });
    for await (const { event, data } of events(response)) {
      const value = JSON.parse(data);
      if (event === 'start') change({ id: value.request_id });
      else if (event === 'token') change({ text: run.text + value.text });
      else if (event === 'done') change({ state: 'done', done: value as Done });
      else if (event === 'error')
        change({ state: 'failed', error: new ApiError(200, value.error?.message ?? value.detail ?? 'It failed.') });
    }
    if (run.state === 'running')
      change({ state: 'failed', error: new ApiError(0, 'The connection was cut before the answer’s end.') });
  } catch (error) {
    if (signal.aborted) change({ state: 'stopped' });
    else change({ state: 'failed', error: error instanceof ApiError ? error : new ApiError(0, 'The connection was cut.') });
  }
}

/** useStop gives what ends a run, also when the view is left. */
function useStop() {
  const current = useRef<AbortController | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => () => current.current?.abort(), []);
  return {
    busy,
    stop: () => current.current?.abort(),
    start: async (work: (signal: AbortSignal) => Promise<void>) => {
      const abort = new AbortController();
      current.current = abort;
      setBusy(true);
      try {
        await work(abort.signal);
      } finally {
        setBusy(false);
      }
    },
  };
}

export function Playground() {
  const keys = useLoad<{ keys: Key[] | null }>('/keys');
  const usable = (keys.data?.keys ?? []).filter(
    (key) => !key.admin && !key.revoked_at && !(key.expires_at && Date.parse(key.expires_at) <= Date.now()),
  );
  const [mode, setMode] = useState<Mode>('chat');
  const [path, setPath] = useState<Path>('warm');
  const [form, setForm] = useState<Form>({ key_id: '', model: 'haiku', system: '', prompt: '', max_tokens: '1024', ask: true });
  const set = (change: Partial<Form>) => setForm({ ...form, ...change });
  const filled: Form = { ...form, key_id: form.key_id || (usable[0]?.id ?? '') };
  const [one, setOne] = useState<Run | null>(null);
  const [three, setThree] = useState<Record<Path, Run> | null>(null);
  const [log, setLog] = useState<TaskRun | null>(null);
  const work = useStop();

  const submit = (event: Event) => {
    event.preventDefault();
    if (work.busy) return;
    if (mode === 'chat') void work.start((signal) => chat(filled, path, signal, setOne));
    if (mode === 'task') void work.start((signal) => task(filled, signal, setLog));
    if (mode === 'compare') {
      void work.start(async (signal) => {
        let runs = { cold: fresh, warm: fresh, direct: fresh };
        setThree(runs);
        // One behind the other: at once they would take the machine from each other.
        for (const [name] of paths) {
          if (signal.aborted) return;
          await chat(filled, name, signal, (run) => {
            runs = { ...runs, [name]: run };
            setThree(runs);
          });
        }
      });
    }
  };

  if (keys.loading) return <Waiting />;
  return (
    <div class="stack">
      <Choice
        label="What to try"
        value={mode}
        onChange={setMode}
        options={[
          ['chat', 'Chat'],
          ['compare', 'Compare'],
          ['task', 'Task'],
        ]}
      />
      {keys.error && <Failure error={keys.error} retry={keys.reload} />}
      {keys.data && usable.length === 0 && (
        <Empty title="No key can be used here.">
          The playground calls as one of the keys does, with its limits and its budget. <Link to="/keys">Create one</Link>{' '}
          first.
        </Empty>
      )}
      {usable.length > 0 && (
        <div class={mode === 'compare' ? 'playground compare' : 'playground'}>
          <Card>
            <form class={mode === 'compare' ? 'form' : 'form single'} onSubmit={submit}>
              <Field label="As the key" hint="It pays, and its limits hold">
                {(given) => (
                  <select {...given} value={filled.key_id} onChange={(event) => set({ key_id: event.currentTarget.value })}>
                    {usable.map((key) => (
                      <option key={key.id} value={key.id}>
                        {key.name || key.id} · {key.project_id} · {key.profile}
                      </option>
                    ))}
                  </select>
                )}
              </Field>
              <Field label="Model">
                {(given) => (
                  <>
                    <input
                      {...given}
                      list="models"
                      required
                      autocomplete="off"
                      value={form.model}
                      onInput={(event) => set({ model: event.currentTarget.value })}
                    />
                    <datalist id="models">
                      <option value="haiku" />
                      <option value="sonnet" />
                      <option value="opus" />
                      <option value="auto" />
                    </datalist>
                  </>
                )}
              </Field>
              {mode === 'chat' && (
                <div class="field">
                  <span class="label" aria-hidden="true">
                    Path
                  </span>
                  <Choice
                    label="Path"
                    value={path}
                    onChange={setPath}
                    options={paths.map(([name, title]) => [name, title] as const)}
                  />
                </div>
              )}
              {mode !== 'task' && (
                <Field label="Tokens at the most">
                  {(given) => (
                    <input
                      {...given}
                      type="number"
                      min="1"
                      inputMode="numeric"
                      value={form.max_tokens}
                      onInput={(event) => set({ max_tokens: event.currentTarget.value })}
                    />
                  )}
                </Field>
              )}
              <Field label="System prompt" class="half">
                {(given) => (
                  <textarea
                    {...given}
                    rows={2}
                    value={form.system}
                    onInput={(event) => set({ system: event.currentTarget.value })}
                  />
                )}
              </Field>
              <Field label={mode === 'task' ? 'What is to be done' : 'Prompt'} hint="Ctrl Enter sends it" class="half">
                {(given) => (
                  <textarea
                    {...given}
                    rows={mode === 'compare' ? 3 : 5}
                    required
                    data-search=""
                    value={form.prompt}
                    onInput={(event) => set({ prompt: event.currentTarget.value })}
                    onKeyDown={(event) => {
                      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) event.currentTarget.form?.requestSubmit();
                    }}
                  />
                )}
              </Field>
              {mode === 'task' && (
                <label class="check">
                  <input type="checkbox" checked={form.ask} onChange={(event) => set({ ask: event.currentTarget.checked })} />
                  It asks here before it uses a tool
                </label>
              )}
              <div class="row whole">
                <Button type="submit" kind="primary" icon="play" disabled={work.busy}>
                  {mode === 'compare' ? 'Compare' : mode === 'task' ? 'Start' : 'Send'}
                </Button>
                {work.busy && (
                  <Button icon="stop" onClick={work.stop}>
                    Stop
                  </Button>
                )}
              </div>
            </form>
          </Card>
          <div class="stack">
            {mode === 'chat' &&
              (one ? (
                <Answer title="Answer" run={one} />
              ) : (
                <Hint>The answer appears here as it is made, with where its time went.</Hint>
              ))}
            {mode === 'compare' &&
              (three ? (
                <Compared runs={three} />
              ) : (
                <Hint>
                  The same prompt goes three ways, one behind the other: a process started for it, a warm one, and the API
                  itself.
                </Hint>
              ))}
            {mode === 'task' &&
              (log ? (
                <TaskLog run={log} />
              ) : (
                <Hint>The task’s events appear here. What it may do is in the key’s profile.</Hint>
              ))}
          </div>
        </div>
      )}
    </div>
  );
}

function Hint({ children }: { children: string }) {
  return (
    <Card>
      <Empty title="Nothing sent yet.">{children}</Empty>
    </Card>
  );
}

const runTones = { waiting: 'neutral', running: 'info', done: 'good', failed: 'bad', stopped: 'neutral' } as const;

function Answer({
  title,
  about,
  run,
  scale,
  badge,
}: {
  title: string;
  about?: string;
  run: Run;
  scale?: number;
  badge?: string;
}) {
  return (
    <Card
      title={title}
      hint={about}
      actions={
        <span class="row">
          {badge && <Badge tone="accent">{badge}</Badge>}
          <Badge tone={runTones[run.state]} dot>
            {run.state}
          </Badge>
        </span>
      }
    >
      <div class="answer" aria-live="polite" aria-busy={run.state === 'running'}>
        {run.text ? (
          <p class={run.state === 'running' ? 'text writing' : 'text'}>{run.text}</p>
        ) : (
          <p class="sub">{run.state === 'running' ? 'waits for the first token' : ''}</p>
        )}
      </div>
      {run.error && <Failure error={run.error} />}
      {run.done && (
        <>
          <Waterfall stages={run.done.stages} total={run.done.total_ms} scale={scale} />
          <p class="sub">
            First token after {format.milliseconds(run.done.ttft_ms)}. {run.done.model},{' '}
            {format.integer(run.done.usage?.input_tokens)} in, {format.integer(run.done.usage?.output_tokens)} out,{' '}
            {format.money(run.done.cost_micro_usd)}
          </p>
        </>
      )}
    </Card>
  );
}

function Compared({ runs }: { runs: Record<Path, Run> }) {
  const done = Object.values(runs).flatMap((run) => (run.done ? [run.done] : []));
  const longest = Math.max(...done.map((one) => one.total_ms), 0);
  const cold = runs.cold.done;
  const times = (run: Run) => {
    if (!cold || !run.done || run === runs.cold || run.done.total_ms <= 0) return undefined;
    const factor = cold.total_ms / run.done.total_ms;
    return factor >= 1.05 ? `${format.rate(factor)} times as fast` : undefined;
  };
  return (
    <>
      <Card title="Side by side" hint="one behind the other, on one scale" actions={<Legend />}>
        <ul class="sides">
          {paths.map(([name, title]) => {
            const one = runs[name].done;
            return (
              <li key={name}>
                <span class="name">{title}</span>
                {one ? <Strip stages={one.stages} total={one.total_ms} scale={longest} /> : <div class="strip" />}
                <strong class="took">{one ? format.milliseconds(one.total_ms) : format.NONE}</strong>
                <span class="sub">{one ? `first token after ${format.milliseconds(one.ttft_ms)}` : runs[name].state}</span>
              </li>
            );
          })}
        </ul>
      </Card>
      <div class="three">
        {paths.map(([name, title, about]) => (
          <Answer
            key={name}
            title={title}
            about={about}
            run={runs[name]}
            scale={longest || undefined}
            badge={times(runs[name])}
          />
        ))}
      </div>
    </>
  );
}

interface TaskRun {
  state: Run['state'];
  id: string;
  list: TaskEvent[];
  writing: string;
  error: ApiError | null;
}

async function task(form: Form, signal: AbortSignal, tell: (run: TaskRun) => void) {
  let run: TaskRun = { state: 'running', id: '', list: [], writing: '', error: null };
  const change = (part: Partial<TaskRun>) => {
    run = { ...run, ...part };
    tell(run);
  };
  change({});
  try {
    const response = await request('/playground/task', {
      method: 'POST',
      signal,
      body: {
        key_id: form.key_id,
        description: form.prompt,
        model: form.model,
        system: form.system || undefined,
        ...(form.ask ? { allow_tools: [], approval: 'ask' } : {}),
      },
    });
    for await (const { data } of events(response)) {
      const event = JSON.parse(data) as TaskEvent & { id?: string };
      if (event.id) change({ id: event.id });
      if (event.type === 'token') change({ writing: run.writing + (event.content ?? '') });
      else change({ list: [...run.list, event], writing: event.type === 'text' ? '' : run.writing });
      if (event.type === 'result') change({ state: 'done', writing: '' });
      if (event.type === 'error') change({ state: 'failed', writing: '' });
    }
    if (run.state === 'running')
      change({ state: 'failed', error: new ApiError(0, 'The connection was cut before the task’s end.') });
  } catch (error) {
    if (signal.aborted) change({ state: 'stopped' });
    else change({ state: 'failed', error: error instanceof ApiError ? error : new ApiError(0, 'The connection was cut.') });
  }
}

function TaskLog({ run }: { run: TaskRun }) {
  const answered = new Set(run.list.filter((event) => event.type === 'approval_resolved').map((event) => event.n));
  const open = run.list.filter((event) => event.type === 'approval' && !answered.has(event.n)) as Approval[];
  return (
    <>
      {run.state === 'running' &&
        open.map((approval) => (
          <Question key={approval.n} path={`/tasks/${encodeURIComponent(run.id)}`} approval={approval} onDone={() => {}} />
        ))}
      <Card
        title="Task"
        actions={
          <span class="row">
            {/* Whoever leaves this view while it runs ends it. */}
            {run.id && run.state !== 'running' && <Link to={`/tasks/${encodeURIComponent(run.id)}`}>All of it</Link>}
            <Badge tone={runTones[run.state]} dot>
              {run.state}
            </Badge>
          </span>
        }
      >
        <ol class="log" aria-live="polite" aria-relevant="additions" aria-label="Events of the task">
          {run.list.map((event, i) => (
            <Line key={i} event={event} />
          ))}
        </ol>
        {run.writing && <p class="text writing">{run.writing}</p>}
        {run.error && <Failure error={run.error} />}
      </Card>
    </>
  );
}
