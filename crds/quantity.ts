/** Kubernetes quantities of bytes. */
export const FACTOR: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/**
 * Bytes of a quantity such as `50Mi`.
 * @throws {RangeError} for other text; validated specs never contain such text.
 */
export function quantityBytes(text: string): number {
  const match = /^([0-9]{1,12})(Ki|Mi|Gi|Ti|k|M|G|T)?$/.exec(text);
  const factor = FACTOR[match?.[2] ?? ''];
  if (!match || factor === undefined) throw new RangeError(`not a quantity of bytes: ${text}`);
  return Number(match[1]) * factor;
}
