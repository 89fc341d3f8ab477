import { useState } from 'preact/hooks';
import { Icon } from '../icons';
import { ended, signIn } from '../session';
import { useStore } from '../store';
import { Button, Field, useWork } from '../ui';

export function SignIn() {
  const why = useStore(ended);
  const [key, setKey] = useState('');
  const work = useWork();
  const submit = (event: Event) => {
    event.preventDefault();
    void work.run(() => signIn(key.trim()));
  };
  return (
    <main class="sign-in" id="main">
      <form class="card" onSubmit={submit}>
        <span class="mark large">
          <Icon name="overview" />
        </span>
        <h1>Claude Code API</h1>
        <p class="lead">{why || 'See what the service does, and run it.'}</p>
        {/* The name of who signs in, for managers of passwords; there is none. */}
        <input
          class="hidden"
          type="text"
          name="username"
          autocomplete="username"
          value="admin"
          tabIndex={-1}
          aria-hidden="true"
          readOnly
        />
        <Field
          label="Admin key"
          hint="Made by: claude-api keys create --project-id operations --admin"
          error={work.error?.message}
        >
          {(given) => (
            <input
              {...given}
              type="password"
              name="key"
              autocomplete="current-password"
              placeholder="cc_…"
              required
              autofocus
              value={key}
              onInput={(event) => setKey(event.currentTarget.value)}
            />
          )}
        </Field>
        <Button type="submit" kind="primary" disabled={work.busy || !key.trim()}>
          {work.busy ? 'Signing in…' : 'Sign in'}
        </Button>
        <p class="hidden" role="alert">
          {work.error?.message}
        </p>
      </form>
    </main>
  );
}
