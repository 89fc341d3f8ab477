import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useStore } from './store';
import { isDark } from './theme';

export interface Line {
  name: string;
  /** A custom property of the style sheet that holds the colour. */
  color: string;
  values: (number | null)[];
  fill?: boolean;
}

interface Props {
  /** What the chart shows, in words: the picture says nothing to who can't see it. */
  label: string;
  /** Seconds since 1970, one for each value. */
  times: number[];
  lines: Line[];
  format: (value: number) => string;
  height?: number;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hour12: false });
const exact = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });

/** axisTime writes a time below the chart: with seconds where minutes would repeat. */
function axisTime(plot: uPlot, at: number): string {
  const { min = 0, max = 0 } = plot.scales.x ?? {};
  return (max - min < 600 ? exact : clock).format(new Date(at * 1000));
}

/** Chart draws lines over time. */
export function Chart({ label, times, lines, format, height = 168 }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  // The moment under the pointer.
  const [at, setAt] = useState<number | null>(null);
  const dark = useStore(isDark);
  const data: uPlot.AlignedData = [times, ...lines.map((line) => line.values)];
  const latest = useRef(data);
  latest.current = data;
  const writes = useRef(format);
  writes.current = format;
  // The lines' own values come by setData; anything else needs another plot.
  const shape = lines.map((line) => `${line.name}:${line.color}:${line.fill}`).join();

  // Another theme has other colours, and shape stands for lines.
  useEffect(() => {
    const parent = box.current;
    if (!parent) return;
    const style = getComputedStyle(document.documentElement);
    const color = (name: string) => style.getPropertyValue(name).trim();
    const font = `11px ${style.getPropertyValue('--font').trim()}`;
    const axis = { stroke: color('--muted'), font, ticks: { show: false }, grid: { stroke: color('--grid'), width: 1 } };
    const made = new uPlot(
      {
        width: Math.max(parent.clientWidth, 50),
        height,
        padding: [10, 24, 0, 0],
        legend: { show: false },
        hooks: { setCursor: [(self) => setAt(self.cursor.idx ?? null)] },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        scales: { x: { time: true }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.15 : 1] } },
        series: [
          {},
          ...lines.map((line) => ({
            label: line.name,
            stroke: color(line.color),
            width: 1.75,
            fill: line.fill ? `${color(line.color)}22` : undefined,
            points: { show: false },
            spanGaps: true,
          })),
        ] as uPlot.Series[],
        axes: [
          {
            ...axis,
            grid: { show: false },
            space: 70,
            size: 22,
            values: (self, at) => at.map((s) => axisTime(self, s)),
          },
          { ...axis, size: 58, space: 34, values: (_, values) => values.map((value) => writes.current(value)) },
        ],
      },
      latest.current,
      parent,
    );
    plot.current = made;
    const watch = new ResizeObserver(() => {
      const width = Math.max(parent.clientWidth, 50);
      if (width !== made.width) made.setSize({ width, height });
    });
    watch.observe(parent);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [dark, shape, height]);

  useEffect(() => {
    plot.current?.setData(data);
  });

  const last = times.length - 1;
  const index = at !== null && at <= last ? at : last;
  return (
    <figure class="chart" aria-label={label}>
      <figcaption aria-hidden="true">
        {lines.map((line) => (
          <span key={line.name}>
            <i style={{ background: `var(${line.color})` }} />
            {line.name} <b>{line.values[index] == null ? '–' : format(line.values[index] as number)}</b>
          </span>
        ))}
        <span class="at">
          {at !== null && times[index] !== undefined ? exact.format(new Date(times[index] * 1000)) : 'now'}
        </span>
      </figcaption>
      <div class="plot" ref={box} aria-hidden="true" />
    </figure>
  );
}
