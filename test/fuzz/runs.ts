/** How often a property is tried: FUZZ_RUNS sets it (make fuzz), FUZZ_SEED repeats what failed. */

export const RUNS = Number(process.env.FUZZ_RUNS ?? 100);
/** The same in each test run, so that what fails is the change that is tested; another one where runs are asked for. */
const SEED = Number(process.env.FUZZ_SEED ?? (process.env.FUZZ_RUNS === undefined ? 20_261_125 : Date.now() % 2 ** 31));

/** Of fast-check. */
export const parameters = (times = 1) => ({ numRuns: Math.ceil(times * RUNS), seed: SEED });
