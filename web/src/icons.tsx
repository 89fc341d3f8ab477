// Icons: 20 by 20, one stroke, in the colour of the text around them.

const paths = {
  overview: 'M3 11h3.2l2.3-6 3 10 2.3-6H17',
  requests: 'M4 5.5h9M4 10h12M4 14.5h6',
  latency: 'M10 5.5V10l3 2M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14Z',
  workers: 'M4 4h5v5H4zM11 4h5v5h-5zM4 11h5v5H4zM11 11h5v5h-5z',
  spend:
    'M10 3v14M13.5 6.2C12.8 5.3 11.5 4.9 10 4.9c-2 0-3.6.9-3.6 2.5 0 3.6 7.4 1.6 7.4 5.2 0 1.6-1.7 2.5-3.8 2.5-1.7 0-3.1-.6-3.9-1.6',
  tasks: 'M4 5.5l1.3 1.3L7.6 4.4M4 13.5l1.3 1.3 2.3-2.4M10.5 5.8H16M10.5 13.8H16',
  playground: 'M6.5 4.2v11.6l9-5.8z',
  keys: 'M12.5 11.5a4 4 0 1 0-3.6-2.3L3.5 14.6V17H6v-1.8h1.9v-1.9h1.6l1-1a4 4 0 0 0 2-.8ZM13 7.2h.01',
  audit: 'M6 3h6l3 3v11H6zM8.5 8.5h4M8.5 11.5h4M8.5 14.5h2.5',
  menu: 'M3.5 6h13M3.5 10h13M3.5 14h13',
  close: 'M5 5l10 10M15 5L5 15',
  sun: 'M10 13.2a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4ZM10 2.5v1.6M10 15.9v1.6M2.5 10h1.6M15.9 10h1.6M4.7 4.7l1.1 1.1M14.2 14.2l1.1 1.1M15.3 4.7l-1.1 1.1M5.8 14.2l-1.1 1.1',
  moon: 'M16 11.8A6.5 6.5 0 0 1 8.2 4a6.5 6.5 0 1 0 7.8 7.8Z',
  screen: 'M3 4.5h14v9H3zM8 16.5h4M10 13.5v3',
  keyboard: 'M2.5 5.5h15v9h-15zM5.5 8.5h.01M8.5 8.5h.01M11.5 8.5h.01M14.5 8.5h.01M6.5 11.5h7',
  out: 'M8 4H4v12h4M8.5 10H17M14 7l3 3-3 3',
  copy: 'M7 7h9v9H7zM4 13V4h9',
  check: 'M4.5 10.5l3.5 3.5 7.5-8',
  pause: 'M7 5v10M13 5v10',
  play: 'M6.5 4.2v11.6l9-5.8z',
  stop: 'M5.5 5.5h9v9h-9z',
  plus: 'M10 4v12M4 10h12',
  back: 'M12.5 4.5L7 10l5.5 5.5',
  down: 'M10 4v10M6 10.5l4 4 4-4M4 17h12',
  warning: 'M10 3.5L17.5 16h-15zM10 8.5v3.5M10 14h.01',
} as const;

export type IconName = keyof typeof paths;

/** Icon is decoration: what it stands beside, or an aria-label, says what it means. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}
