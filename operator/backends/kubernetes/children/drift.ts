/**
 * Whether an object is as we applied it. An API server adds to what it is given (defaults, what controllers fill in,
 * fields of other writers), so only what we said is compared: each field of ours must be there and be the same.
 */

import { isObject } from '../../../../crds/problem.ts';
import { FACTOR } from '../../../../crds/quantity.ts';

/** Maps that mean another thing with one more entry. Nobody but their writer adds to them: they are replaced as a whole. */
const WHOLE = ['.selector', '.matchLabels'];

/** The first field in which the live object is not as wanted, such as `.spec.replicas`; undefined: it is. */
export function drift(wanted: unknown, live: unknown, field = ''): string | undefined {
  if (isObject(wanted)) return isObject(live) ? driftOfFields(wanted, live, field) : field;
  if (Array.isArray(wanted)) return driftOfItems(wanted, live, field);
  return same(wanted, live) ? undefined : field;
}

type Fields = Readonly<Record<string, unknown>>;

function driftOfFields(wanted: Fields, live: Fields, field: string): string | undefined {
  for (const [name, value] of Object.entries(wanted)) {
    const found = drift(value, live[name], `${field}.${name}`);
    if (found !== undefined) return found;
  }
  if (!WHOLE.some((name) => field.endsWith(name))) return undefined;
  return Object.keys(live).some((name) => !(name in wanted)) ? field : undefined;
}

function driftOfItems(wanted: readonly unknown[], live: unknown, field: string): string | undefined {
  // An empty list is not stored.
  const items = live ?? [];
  if (!Array.isArray(items) || items.length !== wanted.length) return field;
  for (const [index, item] of wanted.entries()) {
    const found = drift(item, items[index], `${field}[${index}]`);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** An API server writes amounts in its own way: 1024Mi becomes 1Gi. Zero, false and the empty text may be left out. */
function same(wanted: unknown, live: unknown): boolean {
  if (wanted === live) return true;
  if (live === undefined) return wanted === 0 || wanted === false || wanted === '';
  if (typeof wanted !== 'string' || typeof live !== 'string') return false;
  const amount = amountOf(wanted);
  return amount !== undefined && amount === amountOf(live);
}

/** Of any amount, not of bytes alone: CPUs come in thousandths. */
const UNITS: Readonly<Record<string, number>> = { ...FACTOR, m: 1e-3 };

/** The amount that a Quantity says, in thousandths; undefined when it is none. */
export function amountOf(quantity: string): number | undefined {
  const [, number, unit = ''] = /^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$/.exec(quantity) ?? [];
  return number === undefined ? undefined : Math.round(Number(number) * (UNITS[unit] ?? 1) * 1_000);
}
