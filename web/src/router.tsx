import type { ComponentChildren, TargetedMouseEvent } from 'preact';
import { Store, useStore } from './store';

const BASE = '/dashboard';

function current(): string {
  return location.pathname.slice(BASE.length) || '/';
}

const route = new Store(current());
window.addEventListener('popstate', () => route.set(current()));

/** useRoute gives the path below /dashboard, "/" for the first view. */
export const useRoute = () => useStore(route);

/** go shows another view. */
export function go(path: string) {
  if (path === route.value) return;
  history.pushState(null, '', BASE + path);
  route.set(path);
  window.scrollTo(0, 0);
}

interface LinkProps {
  to: string;
  class?: string;
  'aria-current'?: 'page' | undefined;
  /** Is told when the link is followed here. */
  onGo?: (() => void) | undefined;
  children: ComponentChildren;
}

/** Link goes to another view; with a modifier key the browser does what it always does. */
export function Link({ to, children, onGo, ...rest }: LinkProps) {
  const click = (event: TargetedMouseEvent<HTMLAnchorElement>) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
      return;
    event.preventDefault();
    go(to);
    onGo?.();
  };
  return (
    <a {...rest} href={BASE + (to === '/' ? '' : to)} onClick={click}>
      {children}
    </a>
  );
}
