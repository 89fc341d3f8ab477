import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { Icon, type IconName } from './icons';
import * as live from './live';
import { Audit } from './pages/audit';
import { Keys } from './pages/keys';
import { Latency } from './pages/latency';
import { Overview } from './pages/overview';
import { Playground } from './pages/playground';
import { Requests } from './pages/requests';
import { SignIn } from './pages/signin';
import { Spend } from './pages/spend';
import { Task } from './pages/task';
import { Tasks } from './pages/tasks';
import { Workers } from './pages/workers';
import { go, Link, useRoute } from './router';
import { find, session, signOut, unreachable } from './session';
import { useStore } from './store';
import { choose, isDark, keep, theme } from './theme';
import { Badge, Button, Choice, Dialog, Empty, Failure, say, Toasts } from './ui';

interface View {
  path: string;
  name: string;
  icon: IconName;
  /** Behind g it shows the view. */
  key: string;
  group: string;
  draw: () => ComponentChildren;
}

const views: View[] = [
  { path: '/', name: 'Overview', icon: 'overview', key: 'o', group: 'Watch', draw: () => <Overview /> },
  { path: '/requests', name: 'Requests', icon: 'requests', key: 'r', group: 'Watch', draw: () => <Requests /> },
  { path: '/latency', name: 'Latency', icon: 'latency', key: 'l', group: 'Watch', draw: () => <Latency /> },
  { path: '/workers', name: 'Workers', icon: 'workers', key: 'w', group: 'Watch', draw: () => <Workers /> },
  { path: '/tasks', name: 'Tasks', icon: 'tasks', key: 't', group: 'Work', draw: () => <Tasks /> },
  { path: '/playground', name: 'Playground', icon: 'playground', key: 'p', group: 'Work', draw: () => <Playground /> },
  { path: '/spend', name: 'Spend', icon: 'spend', key: 's', group: 'Manage', draw: () => <Spend /> },
  { path: '/keys', name: 'Keys', icon: 'keys', key: 'k', group: 'Manage', draw: () => <Keys /> },
  { path: '/audit', name: 'Audit', icon: 'audit', key: 'a', group: 'Manage', draw: () => <Audit /> },
];

const NAME = 'Claude Code API';

export function App() {
  const who = useStore(session);
  const failed = useStore(unreachable);
  useEffect(() => {
    void find();
  }, []);
  return (
    <>
      {who ? <Shell /> : who === null ? <SignIn /> : failed ? <Unreachable /> : null}
      <Toasts />
    </>
  );
}

function Unreachable() {
  const failed = useStore(unreachable);
  useEffect(() => {
    const timer = window.setInterval(() => void find(), 3000);
    return () => window.clearInterval(timer);
  }, []);
  return (
    <main class="sign-in">
      <div class="card">
        <h1>{NAME}</h1>
        {failed && <Failure error={failed} retry={() => void find()} />}
      </div>
    </main>
  );
}

function Shell() {
  const path = useRoute();
  const [menu, setMenu] = useState(false);
  const [help, setHelp] = useState(false);
  const task = /^\/tasks\/([^/]+)$/.exec(path)?.[1];
  const view = views.find((v) => v.path === path || (task && v.path === '/tasks'));
  const name = view?.name ?? 'Not found';
  const heading = useRef<HTMLHeadingElement>(null);
  const first = useRef(true);
  // Before another key is pressed, which may move the focus too.
  useLayoutEffect(() => {
    document.title = `${name} · ${NAME}`;
    // Whoever hears the page, or has only a keyboard, goes on where the new view begins.
    if (!first.current && path) heading.current?.focus({ preventScroll: true });
    first.current = false;
  }, [path, name]);
  useShortcuts(() => setHelp(true));

  return (
    <div class="shell">
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <header class="top">
        <Button
          kind="quiet"
          icon="menu"
          class="menu-button"
          aria-label="Menu"
          aria-haspopup="dialog"
          onClick={() => setMenu(true)}
        />
        <Brand />
      </header>
      <aside class="side">
        <Brand />
        <Navigation path={view?.path ?? path} />
        <Foot onHelp={() => setHelp(true)} />
      </aside>
      <main id="main" tabIndex={-1}>
        <Lost />
        <div class="page-head">
          <h1 ref={heading} tabIndex={-1}>
            {name}
          </h1>
          <Status />
        </div>
        {task ? (
          <Task id={decodeURIComponent(task)} />
        ) : view ? (
          view.draw()
        ) : (
          <Empty title="There is no such page.">
            <Link to="/">Go to the overview</Link>
          </Empty>
        )}
      </main>
      {menu && (
        <Dialog title={NAME} panel onClose={() => setMenu(false)}>
          <Navigation path={view?.path ?? path} onGo={() => setMenu(false)} />
          <Foot
            onHelp={() => {
              setHelp(true);
            }}
          />
        </Dialog>
      )}
      {help && <Help onClose={() => setHelp(false)} />}
    </div>
  );
}

function Brand() {
  return (
    <Link to="/" class="brand">
      <span class="mark">
        <Icon name="overview" />
      </span>
      {NAME}
    </Link>
  );
}

function Navigation({ path, onGo }: { path: string; onGo?: () => void }) {
  const overview = useStore(live.overview);
  const groups = [...new Set(views.map((view) => view.group))];
  const count = (view: View) => (view.path === '/tasks' ? (overview?.waiting_approvals ?? 0) : 0);
  return (
    <nav aria-label="Views">
      {groups.map((group) => (
        <div key={group} class="nav-group">
          <p aria-hidden="true">{group}</p>
          <ul>
            {views
              .filter((view) => view.group === group)
              .map((view) => (
                <li key={view.path}>
                  <Link to={view.path} onGo={onGo} aria-current={view.path === path ? 'page' : undefined}>
                    <Icon name={view.icon} />
                    {view.name}
                    {count(view) > 0 && (
                      <span class="count" title="approvals that wait for an answer">
                        {count(view)}
                        <span class="hidden"> approvals wait</span>
                      </span>
                    )}
                  </Link>
                </li>
              ))}
          </ul>
        </div>
      ))}
    </nav>
  );
}

function Foot({ onHelp }: { onHelp: () => void }) {
  const who = useStore(session);
  const chosen = useStore(theme);
  const leave = async () => {
    try {
      await signOut();
    } catch {
      say('Signing out failed: the service can’t be reached.', 'bad');
    }
  };
  return (
    <div class="side-foot">
      <Choice
        label="Colours"
        value={chosen}
        onChange={choose}
        options={[
          ['system', 'Auto'],
          ['light', 'Light'],
          ['dark', 'Dark'],
        ]}
      />
      <p class="who">
        Signed in as <strong>{who?.name || who?.key_id}</strong>
      </p>
      <div class="row">
        <Button kind="quiet" small icon="keyboard" onClick={onHelp}>
          Shortcuts
        </Button>
        <Button kind="quiet" small icon="out" onClick={leave}>
          Sign out
        </Button>
      </div>
    </div>
  );
}

/** Lost says that what is seen is old, over the view, so that nothing jumps. */
function Lost() {
  const connection = useStore(live.connection);
  return (
    <div class="lost-place" role="status">
      {connection === 'lost' && (
        <div class="lost">
          <Icon name="warning" />
          <p>The connection to the service is lost. What you see is from before; the page connects again by itself.</p>
          <Button small onClick={() => live.again()}>
            Now
          </Button>
        </div>
      )}
    </div>
  );
}

function Status() {
  const overview = useStore(live.overview);
  const connection = useStore(live.connection);
  if (connection === 'lost') return <Badge tone="bad">offline</Badge>;
  if (!overview) return <Badge>connecting</Badge>;
  if (!overview.ready.ready) {
    return (
      <Badge tone="bad" dot>
        not ready{overview.ready.reason ? `: ${overview.ready.reason}` : ''}
      </Badge>
    );
  }
  return (
    <Badge tone={overview.status === 'ok' ? 'good' : 'warn'} dot>
      {overview.status === 'ok' ? 'all is well' : overview.status}
    </Badge>
  );
}

/** useShortcuts hears single keys wherever nobody is writing. */
function useShortcuts(onHelp: () => void) {
  const help = useRef(onHelp);
  help.current = onHelp;
  useEffect(() => {
    let behindG = 0;
    const press = (event: KeyboardEvent) => {
      if (keep.get('shortcuts') === 'off' || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if ((event.target as Element).closest('input:not([type=radio], [type=checkbox]), textarea, select, dialog')) return;
      const after = performance.now() - behindG < 1500;
      behindG = 0;
      const view = after && views.find((v) => v.key === event.key);
      if (view) go(view.path);
      else if (event.key === 'g') behindG = performance.now();
      else if (event.key === '?') help.current();
      else if (event.key === 'd') choose(isDark.value ? 'light' : 'dark');
      else if (event.key === '/') {
        const field = document.querySelector<HTMLElement>('[data-search]');
        if (!field) return;
        field.focus();
      } else return;
      event.preventDefault();
    };
    document.addEventListener('keydown', press);
    return () => document.removeEventListener('keydown', press);
  }, []);
}

function Help({ onClose }: { onClose: () => void }) {
  const [on, setOn] = useState(keep.get('shortcuts') !== 'off');
  const list: [string[], string][] = [
    ...views.map((view): [string[], string] => [['g', view.key], view.name]),
    [['/'], 'the view’s filter'],
    [['d'], 'dark or light'],
    [['?'], 'this list'],
    [['Esc'], 'close what is open'],
  ];
  return (
    <Dialog title="Shortcuts" onClose={onClose}>
      <dl class="shortcuts">
        {list.map(([keys, what]) => (
          <div key={keys.join(' ')}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <label class="check">
        <input
          type="checkbox"
          checked={on}
          onChange={(event) => {
            setOn(event.currentTarget.checked);
            keep.set('shortcuts', event.currentTarget.checked ? 'on' : 'off');
          }}
        />
        Single keys are shortcuts
      </label>
    </Dialog>
  );
}
