import { Store } from './store';

export type Theme = 'system' | 'light' | 'dark';

const NAME = 'theme';
const dark = window.matchMedia('(prefers-color-scheme: dark)');

function kept(): Theme {
  const value = keep.get(NAME);
  return value === 'light' || value === 'dark' ? value : 'system';
}

/** keep remembers small things on this device, where the browser lets it. */
export const keep = {
  get(name: string): string | null {
    try {
      return localStorage.getItem(`claude-api.${name}`);
    } catch {
      return null;
    }
  },
  set(name: string, value: string) {
    try {
      localStorage.setItem(`claude-api.${name}`, value);
    } catch {
      // It is remembered for as long as the page is open.
    }
  },
};

export const theme = new Store<Theme>(kept());
/** The colours that are drawn now: what the theme comes to. */
export const isDark = new Store(false);

function apply() {
  const chosen = theme.value;
  isDark.set(chosen === 'dark' || (chosen === 'system' && dark.matches));
  document.documentElement.dataset.theme = isDark.value ? 'dark' : 'light';
}

export function choose(value: Theme) {
  keep.set(NAME, value);
  theme.set(value);
  apply();
}

dark.addEventListener('change', apply);
apply();
