import { useEffect, useRef, useState } from 'preact/hooks';
import { type Approval, ROOT, send, type TaskEvent, type Task as TaskShape } from '../api';
import * as format from '../format';
import { useLoad } from '../load';
import { go, Link } from '../router';
import { Ago, Badge, Button, Card, Confirm, Empty, Facts, Failure, Field, say, useWork, Waiting } from '../ui';
import { costOf, taskTones, took } from './tasks';

interface Numbered extends TaskEvent {
  id: number;
}

const kinds = [
  'status',
  'token',
  'thinking',
  'text',
  'warning',
  'tool_use',
  'tool_result',
  'approval',
  'approval_resolved',
  'result',
  'error',
];
const over = (task: TaskShape) => ['completed', 'failed', 'cancelled'].includes(task.status);

/** useEvents follows a task's log. A connection that is cut goes on behind the last event. */
function useEvents(id: string, onChange: () => void) {
  const [list, setList] = useState<Numbered[]>([]);
  const [writing, setWriting] = useState('');
  const [ended, setEnded] = useState(false);
  const change = useRef(onChange);
  change.current = onChange;
  useEffect(() => {
    setList([]);
    setWriting('');
    setEnded(false);
    const source = new EventSource(`${ROOT}/tasks/${encodeURIComponent(id)}/events`);
    const hear = (message: Event) => {
      const { data, lastEventId } = message as MessageEvent<string>;
      // The browser's own error events have no data.
      if (typeof data !== 'string') return;
      const event = JSON.parse(data) as TaskEvent;
      if (event.type === 'token') {
        setWriting((text) => text + (event.content ?? ''));
        return;
      }
      if (event.type === 'text') setWriting('');
      setList((old) => [...old, { ...event, id: Number(lastEventId) }]);
      if (event.type === 'result' || event.type === 'error') {
        source.close();
        setWriting('');
        setEnded(true);
      }
      if (event.type !== 'text' && event.type !== 'thinking') change.current();
    };
    for (const kind of kinds) source.addEventListener(kind, hear);
    return () => source.close();
  }, [id]);
  return { list, writing, ended };
}

export function Task({ id }: { id: string }) {
  const { data: task, error, loading, reload } = useLoad<TaskShape>(`/tasks/${encodeURIComponent(id)}`, 3000);
  const { list, writing, ended } = useEvents(id, reload);
  const [asking, setAsking] = useState(false);
  if (loading) return <Waiting lines={10} />;
  if (!task) {
    return (
      <div class="stack">
        <Back />
        {error && <Failure error={error} retry={reload} />}
      </div>
    );
  }
  const base = `/tasks/${encodeURIComponent(id)}`;
  const artifacts = task.artifacts ?? [];
  return (
    <div class="stack">
      <div class="toolbar middle">
        <Back />
        <Badge tone={taskTones[task.status]} dot>
          {task.cancelling ? 'ending' : task.status}
        </Badge>
        <div class="end">
          <Button kind={over(task) ? 'quiet' : 'danger'} icon={over(task) ? 'close' : 'stop'} onClick={() => setAsking(true)}>
            {over(task) ? 'Forget it' : 'End it'}
          </Button>
        </div>
      </div>
      {error && <Failure error={error} retry={reload} />}
      {(task.approvals ?? []).map((approval) => (
        <Question key={approval.n} path={base} approval={approval} onDone={reload} />
      ))}
      <div class="columns wide-first">
        <div class="stack">
          <Card title="What is to be done">
            <p class="text">{task.description || 'The description isn’t kept.'}</p>
          </Card>
          <Card title="Log" hint={ended ? undefined : 'live'}>
            {list.length === 0 && !writing && (
              <Empty title={over(task) ? 'There are no events.' : 'Nothing has happened yet.'} />
            )}
            <ol class="log" aria-live="polite" aria-relevant="additions" aria-label="Events of the task">
              {list.map((event) => (
                <Line key={`${event.id} ${event.type}`} event={event} />
              ))}
            </ol>
            {writing && <p class="text writing">{writing}</p>}
          </Card>
        </div>
        <div class="stack">
          <Card title="Facts">
            <Facts
              list={[
                ['Id', <code key="id">{task.id}</code>],
                ['Key', task.key_id],
                ['Project', task.project_id],
                ['Model', task.model],
                ['Created', <Ago key="created" at={task.created_at} />],
                ['Took', took(task)],
                ['Attempt', format.integer(task.attempt)],
                ['Turns', format.integer(task.turns)],
                ['Tokens', format.integer(task.usage?.total_tokens)],
                ['Cost', costOf(task)],
              ]}
            />
            {task.warnings?.map((warning) => (
              <p key={warning} class="hint">
                {warning}
              </p>
            ))}
          </Card>
          <Card title="Artifacts" hint="what it has written">
            {artifacts.length === 0 ? (
              <Empty title="None." />
            ) : (
              <ul class="lines">
                {artifacts.map((artifact) => (
                  <li key={artifact.path}>
                    <span class="grow">
                      {artifact.kept ? (
                        <a
                          href={`${ROOT}${base}/artifacts/${artifact.path.split('/').map(encodeURIComponent).join('/')}`}
                          download
                        >
                          {artifact.path}
                        </a>
                      ) : (
                        artifact.path
                      )}
                      <span class="sub">
                        {artifact.change}, {format.bytes(artifact.bytes)}
                        {!artifact.kept && ', too large to be kept'}
                      </span>
                    </span>
                  </li>
                ))}
              </ul>
            )}
          </Card>
        </div>
      </div>
      {asking && (
        <Confirm
          title={over(task) ? 'Forget this task?' : 'End this task?'}
          action={over(task) ? 'Forget it' : 'End it'}
          onClose={() => setAsking(false)}
          onConfirm={async () => {
            await send('DELETE', base);
            setAsking(false);
            say(over(task) ? 'The task is forgotten.' : 'The task is being ended.');
            if (over(task)) go('/tasks');
            else reload();
          }}
        >
          <p>
            {over(task)
              ? 'Its log, its artifacts and its conversation are removed.'
              : 'What it has done by now stays as it is.'}
          </p>
        </Confirm>
      )}
    </div>
  );
}

function Back() {
  return (
    <Link to="/tasks" class="button quiet">
      All tasks
    </Link>
  );
}

/** Question is what a task waits for: somebody allows the use of a tool, or denies it. */
export function Question({ path, approval, onDone }: { path: string; approval: Approval; onDone: () => void }) {
  const [message, setMessage] = useState('');
  const work = useWork();
  const answer = (decision: 'allow' | 'deny') =>
    work.run(async () => {
      await send('POST', `${path}/approvals/${approval.n}`, {
        decision,
        ...(message.trim() && decision === 'deny' ? { message: message.trim() } : {}),
      });
      say(decision === 'allow' ? `${approval.tool} is allowed.` : `${approval.tool} is denied.`);
      onDone();
    });
  return (
    <Card
      title={`May it use ${approval.tool}?`}
      hint={
        <>
          denied <Ago at={approval.expires_at} /> if nobody answers
        </>
      }
      class="question"
    >
      <pre class="code">{format.text(approval.input)}</pre>
      {work.error && <Failure error={work.error} />}
      <div class="toolbar">
        <Field label="What the model is told of a refusal" class="grow">
          {(given) => (
            <input {...given} value={message} maxLength={1000} onInput={(event) => setMessage(event.currentTarget.value)} />
          )}
        </Field>
        <Button disabled={work.busy} onClick={() => answer('deny')}>
          Deny
        </Button>
        <Button kind="primary" disabled={work.busy} onClick={() => answer('allow')}>
          Allow
        </Button>
      </div>
    </Card>
  );
}

/** Line is one event of the log. */
export function Line({ event }: { event: TaskEvent }) {
  switch (event.type) {
    case 'status':
      return (
        <li class="quiet">
          {event.status}
          {event.model && `, ${event.model}`}
          {(event.attempt ?? 0) > 1 && `, attempt ${event.attempt}`}
        </li>
      );
    case 'text':
      return <li class="text">{event.content}</li>;
    case 'thinking':
      return <li class="quiet text">{event.content}</li>;
    case 'warning':
      return <li class="warn-text">{event.content}</li>;
    case 'tool_use':
      return (
        <li class="tool">
          <strong>{event.tool}</strong>
          {event.agent && <span class="sub">in {event.agent}</span>}
          <pre class="code">{format.text(event.input)}</pre>
        </li>
      );
    case 'tool_result':
      return (
        <li class={event.is_error ? 'tool bad' : 'tool'}>
          <span class="sub">
            {event.tool} {event.is_error ? 'failed' : 'gave'}
          </span>
          <pre class="code">{format.text(event.output) || 'nothing'}</pre>
        </li>
      );
    case 'approval':
      return <li class="quiet">asks whether it may use {event.tool}</li>;
    case 'approval_resolved':
      return (
        <li class="quiet">
          {event.decision === 'allow' ? 'allowed' : 'denied'} by {event.by === 'timeout' ? 'time' : 'a person'}
          {event.reason && `: ${event.reason}`}
        </li>
      );
    case 'result':
      return (
        <li class="end-line">
          <Badge tone="good" dot>
            completed
          </Badge>
          <p class="text">{event.result}</p>
        </li>
      );
    case 'error':
      return (
        <li class="end-line">
          <Badge tone="bad" dot>
            {event.status ?? 'failed'}
          </Badge>
          <p class="text">{event.detail}</p>
        </li>
      );
    default:
      return null;
  }
}
