/** Tables and times as kubectl prints them. */
import Table from 'cli-table3';
import picocolors from 'picocolors';

const BORDERLESS = Object.fromEntries(
  [
    ...['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'],
    ...['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'],
  ].map((edge) => [edge, '']),
);

/** A text, or one with a colour. */
type Cell = string | { readonly text: string; readonly paint: (text: string) => string };

/** Columns under their names, three spaces apart; no line ends with a space. */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const grid = new Table({
    chars: { ...BORDERLESS, middle: '   ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
  });
  grid.push([...head], ...rows.map((row) => row.map(rendered)));
  return grid.toString().replace(/ +$/gm, '');
}

/** What others said (replies of servers, addresses) must not move the cursor of a terminal, or add lines to a table. */
const oneLine = (text: string): string => text.replace(/\p{Cc}+/gu, ' ');

const rendered = (cell: Cell): string => (typeof cell === 'string' ? oneLine(cell) : cell.paint(oneLine(cell.text)));

export const colours = picocolors.createColors(process.stdout.isTTY === true && process.env.NO_COLOR === undefined);

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const;

/** Milliseconds in their largest unit, as kubectl shows ages: `5d`, `3h`, `12m`, `45s`, `0s`. */
export function age(ms: number): string {
  for (const [unit, length] of UNITS) if (ms >= length) return `${Math.floor(ms / length)}${unit}`;
  return '0s';
}

/** Bytes with a unit of powers of 1024: `512B`, `4.0Ki`, `20Mi`. */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 'B';
  for (const next of ['Ki', 'Mi', 'Gi', 'Ti']) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return unit === 'B' || value >= 10 ? `${Math.round(value)}${unit}` : `${value.toFixed(1)}${unit}`;
}
